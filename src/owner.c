/*
 * owner.c
 *		Queries on guarded tables, run as their owners.
 *
 * Runs in the worker, which is a superuser: whatever the owner of a table put
 * into a status expression, a type or a policy runs as that owner, in a
 * restricted operation, under pinned settings, with a time limit and in a
 * sub-transaction.  Row security is off, so that what it hides is an error and
 * not an absence.  A table that is locked is left for later.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timeout.h"

#include "compat.h"
#include "owner.h"
#include "query.h"

#define TIME_LIMIT	10000		/* ms */

static void
pin_settings(void)
{
	static const char *const pinned[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"row_security", "off"},
		{"lock_timeout", "100ms"},
		{"enable_hashjoin", "off"},
		{"enable_mergejoin", "off"},
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"bytea_output", "hex"},
		{"extra_float_digits", "1"}
	};

	for (int i = 0; i < lengthof(pinned); i++)
		set_config_option(pinned[i][0], pinned[i][1], PGC_SUSET,
						  PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* Runs the query; throws what it throws. */
static void
run_restricted(const OgWatch *watch, const char *sql, int nargs, Oid *types,
			   Datum *values)
{
	Oid			user;
	int			context;
	int			level;
	int			result;

	GetUserIdAndSecContext(&user, &context);
	level = NewGUCNestLevel();
	pin_settings();
	SetUserIdAndSecContext(watch->owner, context |
						   SECURITY_RESTRICTED_OPERATION |
						   SECURITY_NOFORCE_RLS);
	enable_timeout_after(STATEMENT_TIMEOUT, TIME_LIMIT);
	result = SPI_execute_with_args(sql, nargs, types, values, NULL, true, 0);
	disable_timeout(STATEMENT_TIMEOUT, false);
	if (result < 0)
		elog(ERROR, "could not read %s: %s", watch->name,
			 SPI_result_code_string(result));
	AtEOXact_GUC(false, level);
	SetUserIdAndSecContext(user, context);
}

/*
 * og_owner_note_error
 *		Notes on a watch what went wrong with it; in a healthy transaction.
 */
void
og_owner_note_error(OgWatch *watch, const char *message)
{
	static OgPlan plan = {
		"UPDATE order_guard.watch_state SET last_error = $2, "
		"last_error_at = clock_timestamp() WHERE watch = $1", NULL
	};
	Oid			types[] = {INT4OID, TEXTOID};
	Datum		values[] = {Int32GetDatum(watch->id),
	CStringGetTextDatum(message)};

	watch->failed = true;
	og_query_run(&plan, 2, types, values, NULL);
}

static OgOwnerResult
after_error(OgWatch *watch, MemoryContext context)
{
	ErrorData  *edata;

	MemoryContextSwitchTo(context);
	disable_timeout(STATEMENT_TIMEOUT, false);
	edata = CopyErrorData();
	FlushErrorState();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	if (edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		return OG_OWNER_BUSY;
	og_owner_note_error(watch, edata->message);
	return OG_OWNER_FAILED;
}

/*
 * og_owner_query
 *		See owner.h.  An error of the query ends only the query.
 */
OgOwnerResult
og_owner_query(OgWatch *watch, const char *sql, int nargs, Oid *types,
			   Datum *values)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	volatile OgOwnerResult result = OG_OWNER_DONE;
	Oid			user;
	int			security;

	if (!OidIsValid(watch->relation) || watch->failed)
		return OG_OWNER_FAILED;
	if (!ConditionalLockRelationOid(watch->relation, AccessShareLock))
		return OG_OWNER_BUSY;
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(watch->relation)))
		return OG_OWNER_FAILED;
	GetUserIdAndSecContext(&user, &security);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		run_restricted(watch, sql, nargs, types, values);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		SetUserIdAndSecContext(user, security);
		result = after_error(watch, context);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resources;
	return result;
}
