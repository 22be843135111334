/*
 * owner_call.c
 *		Running code of a table's owner, in the worker.
 *
 * Runs in the worker, which is a superuser.  What a table's owner wrote (a
 * status expression, a type, a trigger, a policy, a handler) runs as that
 * owner, in a restricted operation, under pinned settings, with a time limit
 * and in a sub-transaction.  It can do what its owner could do himself, and
 * nothing that it does may outlive it in this process:
 *
 *		the role, settings, sub-transactions	restored
 *		cursors, advisory locks of the session	closed, released
 *		deferred triggers		constraints are immediate, and a restricted
 *								operation cannot defer them again
 *		WITH HOLD, LISTEN, PREPARE, temporary tables
 *								refused in a restricted operation
 *		other temporary objects	refused here: the schema would stay, and be
 *								searched first by the next owner's code
 *
 * The time limit does not depend on statement_timeout, which that code may
 * change.  It may also catch the cancellation, so that is asked for again
 * whenever a sub-transaction is rolled back past the limit: no exception
 * handler gets further than to its first statement.  Code that never checks
 * for interrupts (a loop of C or Perl without a query in it) cannot be ended.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/guc_tables.h"
#include "utils/portal.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "owner.h"
#include "query.h"

/* When what runs now has to be over; 0: nothing runs. */
static TimestampTz deadline = 0;

/* A sub-transaction was rolled back: somebody may have caught the end. */
static void
insist(SubXactEvent event, SubTransactionId id, SubTransactionId parent,
	   void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB || deadline == 0 ||
		GetCurrentTimestamp() < deadline)
		return;
	QueryCancelPending = true;
	InterruptPending = true;
}

/*
 * Anybody may set these, and both end the process that meets an error or is
 * slow.  In a worker nobody sets them in a restricted operation.
 */
static void
protect_settings(void)
{
	int			n;
	struct config_generic **settings = og_guc_variables(&n);

	for (int i = 0; i < n; i++)
		if (strcmp(settings[i]->name, "exit_on_error") == 0 ||
			strcmp(settings[i]->name, "transaction_timeout") == 0)
			settings[i]->flags |= GUC_NOT_WHILE_SEC_REST;
}

static void
prepare_process(void)
{
	static bool prepared = false;

	if (prepared)
		return;
	protect_settings();
	RegisterSubXactCallback(insist, NULL);
	prepared = true;
}

static void
pin_settings(void)
{
	static const char *const pinned[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"row_security", "off"},
		{"lock_timeout", "100ms"},
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"bytea_output", "hex"},
		{"extra_float_digits", "1"}
	};

	for (int i = 0; i < lengthof(pinned); i++)
		og_owner_pin(pinned[i][0], pinned[i][1]);
}

/*
 * og_owner_pin
 *		Sets a setting for the owner's code that runs now.
 */
void
og_owner_pin(const char *name, const char *value)
{
	set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE,
					  true, 0, false);
}

/*
 * Deferred triggers would run as the superuser at commit.
 */
static void
make_constraints_immediate(void)
{
	ConstraintsSetStmt *all = makeNode(ConstraintsSetStmt);

	all->constraints = NIL;
	all->deferred = false;
	AfterTriggerSetState(all);
}

static void
refuse_temporary_objects(void)
{
	Oid			schema;
	Oid			toast;

	GetTempNamespaceState(&schema, &toast);
	if (OidIsValid(schema))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("temporary objects cannot be created in the "
						"worker of order_guard")));
}

/*
 * In the sub-transaction.  Reading is not bound by FORCE ROW LEVEL SECURITY:
 * what the policies hide would be missed.  A write is bound by it as the
 * owner wants to be, and since row_security is off that is an error.
 */
static void
run_restricted(Oid owner, bool writes, void (*run) (void *), void *arg)
{
	Oid			user;
	int			context;
	int			level;

	GetUserIdAndSecContext(&user, &context);
	level = NewGUCNestLevel();
	pin_settings();
	SetUserIdAndSecContext(owner, context | SECURITY_RESTRICTED_OPERATION |
						   (writes ? 0 : SECURITY_NOFORCE_RLS));
	if (writes)
		make_constraints_immediate();
	run(arg);
	PortalHashTableDeleteAll();
	refuse_temporary_objects();
	AtEOXact_GUC(false, level);
	SetUserIdAndSecContext(user, context);
}

/*
 * The owner of a relation, which cannot change while this transaction lasts;
 * false if the relation is gone.
 */
static bool
find_owner(Oid relation, Oid *owner)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));

	if (!HeapTupleIsValid(tuple))
		return false;
	*owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return true;
}

/*
 * og_owner_begin_limit
 *		From now on there are so many ms.  Not while another limit runs.
 */
void
og_owner_begin_limit(int ms)
{
	Assert(deadline == 0);
	deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
	enable_timeout_after(STATEMENT_TIMEOUT, ms);
}

/*
 * og_owner_end_limit
 *		What the limit has asked for has been done, or came too late.
 */
void
og_owner_end_limit(void)
{
	deadline = 0;
	disable_timeout(STATEMENT_TIMEOUT, false);
	QueryCancelPending = false;
}

/*
 * Runs it in a sub-transaction; what it throws, in the current context, or
 * NULL.
 */
static ErrorData *
run_caught(Oid owner, int limit_ms, bool writes, void (*run) (void *),
		   void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		og_owner_begin_limit(limit_ms);
		run_restricted(owner, writes, run, arg);
		ReleaseCurrentSubTransaction();
		og_owner_end_limit();
	}
	PG_CATCH();
	{
		og_owner_end_limit();
		/* This restores user, security context and settings, too. */
		error = og_query_undo(context, resources);
	}
	PG_END_TRY();
	LockReleaseSession(USER_LOCKMETHOD);
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resources;
	return error;
}

/*
 * og_owner_run
 *		Runs something as the owner of a relation.  *error is NULL if the
 *		relation is locked (BUSY) or gone (FAILED).
 */
OgOwnerResult
og_owner_run(Oid relation, int limit_ms, bool writes, void (*run) (void *),
			 void *arg, ErrorData **error)
{
	Oid			owner;

	*error = NULL;
	if (!OidIsValid(relation))
		return OG_OWNER_FAILED;
	if (!ConditionalLockRelationOid(relation, AccessShareLock))
		return OG_OWNER_BUSY;
	if (!find_owner(relation, &owner))
		return OG_OWNER_FAILED;
	prepare_process();
	*error = run_caught(owner, limit_ms, writes, run, arg);
	if (*error == NULL)
		return OG_OWNER_DONE;
	return (*error)->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ?
		OG_OWNER_BUSY : OG_OWNER_FAILED;
}

/*
 * og_owner_call
 *		See owner.h.
 */
OgOwnerResult
og_owner_call(OgWatch *watch, int limit_ms, void (*run) (void *), void *arg,
			  ErrorData **error)
{
	ErrorData  *caught;
	OgOwnerResult result = og_owner_run(watch->relation, limit_ms, true, run,
										arg, &caught);

	if (error)
		*error = caught;
	else if (result == OG_OWNER_FAILED && caught)
		og_owner_note_error(watch, caught->message);
	return result;
}
