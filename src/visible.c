/*
 * visible.c
 *		Which incidents a reader sees whom row security binds.
 *
 * Runs in whoever looks, with his rights.  Who may SELECT a table and is not
 * bound by its policies sees all about it.  Whom they bind sees what is open
 * about committed orders that he may see: the row with the key is looked up
 * as he would read it.  He does not see work that never committed, and not
 * what is over: its key may be another order's since.
 *
 * He asked for incidents, not for that table.  So its owner must get nothing
 * out of the look: functions of strangers do not run, nor do those that
 * change anything (trust.c), in a sub-transaction, in a restricted operation,
 * without waiting for locks and for LIMIT_MS at most.  Whatever goes wrong is
 * an order that is not seen; but for errors of one row's data, the table is
 * then not asked again in the same statement.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timeout.h"

#include "key.h"
#include "keytext.h"
#include "query.h"
#include "rights.h"
#include "visible.h"

PG_FUNCTION_INFO_V1(og_visible_may_see);

#define LIMIT_MS	500
#define LOOKUPS		8
#define MAX_COLUMNS 8

/* How the rows of a table are looked up, for the time of a statement. */
typedef struct Lookup
{
	Oid			relation;
	Oid			role;
	TimestampTz statement;
	bool		failed;			/* do not ask again */
	MemoryContext context;
	List	   *keys;			/* names of columns; NIL: not watched */
	SPIPlanPtr	plan;			/* made at first use */
} Lookup;

static Lookup lookups[LOOKUPS];
static int	next_lookup = 0;
static bool looking = false;	/* a policy may read incidents itself */

static TimeoutId limit = MAX_TIMEOUTS;
static volatile sig_atomic_t too_late = false;

static void
at_limit(void)
{
	too_late = true;
	InterruptPending = true;
	QueryCancelPending = true;
}

static void
start_limit(void)
{
	if (limit == MAX_TIMEOUTS)
		limit = RegisterTimeout(USER_TIMEOUT, at_limit);
	too_late = false;
	enable_timeout_after(limit, LIMIT_MS);
}

static void
stop_limit(void)
{
	disable_timeout(limit, false);
	if (too_late)
		QueryCancelPending = false;
}

static Lookup *
find_lookup(Oid relation)
{
	TimestampTz now = GetCurrentStatementStartTimestamp();

	for (int i = 0; i < LOOKUPS; i++)
	{
		if (lookups[i].relation == relation && lookups[i].statement == now &&
			lookups[i].role == GetUserId())
			return &lookups[i];
	}
	return NULL;
}

/* SPI is connected. */
static Lookup *
make_lookup(Oid relation)
{
	Lookup	   *lookup = &lookups[next_lookup];
	OgWatched  *watched = og_key_watched_relation(relation);
	MemoryContext old;

	next_lookup = (next_lookup + 1) % LOOKUPS;
	if (lookup->plan)
		SPI_freeplan(lookup->plan);
	if (lookup->context)
		MemoryContextDelete(lookup->context);
	memset(lookup, 0, sizeof(*lookup));
	lookup->context = AllocSetContextCreate(TopMemoryContext,
											"order_guard lookup",
											ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(lookup->context);
	if (watched)
	{
		ListCell   *cell;

		foreach(cell, watched->keys)
			lookup->keys = lappend(lookup->keys, pstrdup(lfirst(cell)));
	}
	MemoryContextSwitchTo(old);
	lookup->role = GetUserId();
	lookup->statement = GetCurrentStatementStartTimestamp();
	lookup->relation = relation;
	return lookup;
}

static SPIPlanPtr
make_plan(const Lookup *lookup, Oid *types)
{
	StringInfoData sql;
	SPIPlanPtr	plan;
	int			n = 0;
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT FROM %s t WHERE ",
					 og_key_relation_name(lookup->relation));
	foreach(cell, lookup->keys)
	{
		appendStringInfo(&sql, "%st.%s %s $%d", n > 0 ? " AND " : "",
						 quote_identifier(lfirst(cell)),
						 og_keytext_equality(types[n]), n + 1);
		n++;
	}
	plan = SPI_prepare(sql.data, n, types);
	if (plan == NULL || !og_trust_plan(plan, lookup->relation))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("policies of %s are not run for its readers",
						og_key_relation_name(lookup->relation))));
	return plan;
}

/*
 * Is there such a row for the current role?  Throws whatever goes wrong.
 */
static bool
find_row(Lookup *lookup, const char *key)
{
	List	   *fields = og_keytext_split(key, list_length(lookup->keys));
	Oid			types[MAX_COLUMNS];
	Datum		values[MAX_COLUMNS];
	int			n = list_length(fields);

	if (n == 0 || n > MAX_COLUMNS)
		return false;
	for (int i = 0; i < n; i++)
	{
		const char *field = list_nth(fields, i);

		if (field == NULL)
			return false;
		values[i] = og_keytext_value(lookup->relation,
									 list_nth(lookup->keys, i), field,
									 &types[i]);
	}
	if (lookup->plan == NULL)
	{
		SPIPlanPtr	plan = make_plan(lookup, types);

		SPI_keepplan(plan);
		lookup->plan = plan;
	}
	SPI_execute_plan(lookup->plan, values, NULL, true, 1);
	SPI_freetuptable(SPI_tuptable);
	return SPI_processed > 0;
}

static void
pin_settings(void)
{
	static const char *const pinned[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"row_security", "on"},
		{"lock_timeout", "10ms"}
	};

	for (int i = 0; i < lengthof(pinned); i++)
		set_config_option(pinned[i][0], pinned[i][1], PGC_USERSET,
						  PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* find_row() with all that protects who looks; throws, too. */
static bool
find_row_guarded(Lookup *lookup, const char *key)
{
	int			nest = NewGUCNestLevel();
	Oid			user;
	int			context;
	bool		found;

	pin_settings();
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(user, context | SECURITY_RESTRICTED_OPERATION);
	og_trust_limit(OG_TRUST_READ);
	start_limit();
	found = find_row(lookup, key);
	stop_limit();
	CHECK_FOR_INTERRUPTS();
	og_trust_lift();
	SetUserIdAndSecContext(user, context);
	AtEOXact_GUC(false, nest);
	return found;
}

/*
 * A person who cancels his query, or a shutdown, is not to be ignored.  What
 * one row's data did is of that row only.
 */
static void
after_error(Lookup *lookup, MemoryContext context, ResourceOwner owner)
{
	ErrorData  *error;
	bool		late = too_late;

	stop_limit();
	error = og_query_undo(context, owner);
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && !late)
		ReThrowError(error);
	lookup->failed =
		ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION;
	FreeErrorData(error);
}

static bool
look_up(Lookup *lookup, const char *key)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool found = false;

	if (!ConditionalLockRelationOid(lookup->relation, AccessShareLock))
		return false;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	looking = true;
	PG_TRY();
	{
		found = find_row_guarded(lookup, key);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		looking = false;
	}
	PG_CATCH();
	{
		looking = found = false;
		after_error(lookup, context, owner);
	}
	PG_END_TRY();
	return found;
}

static bool
may_see_row(Oid relation, const char *key)
{
	Lookup	   *lookup;
	bool		found;

	if (looking)
		return false;
	SPI_connect();
	lookup = find_lookup(relation);
	if (lookup == NULL)
		lookup = make_lookup(relation);
	found = !lookup->failed && lookup->keys != NIL && look_up(lookup, key);
	SPI_finish();
	return found;
}

/* Is such an incident about a committed order as it is now? */
static bool
is_about_row(const char *kind, const char *state)
{
	static const char *const kinds[] = {"stalled", "unacknowledged"};

	for (int i = 0; i < lengthof(kinds); i++)
		if (strcmp(kind, kinds[i]) == 0)
			return strcmp(state, "open") == 0;
	return false;
}

/*
 * og_visible_incident
 *		See visible.h.
 */
bool
og_visible_incident(Oid relation, const char *kind, const char *state,
					const char *key)
{
	if (og_rights_may_see(relation))
		return true;
	if (!OidIsValid(relation) ||
		!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)))
		return strcmp(kind, "coverage") == 0 &&
			has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
	return key != NULL && is_about_row(kind, state) &&
		pg_class_aclcheck(relation, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		may_see_row(relation, key);
}

/*
 * order_guard._may_see(relation oid, kind text, state text, key text)
 */
Datum
og_visible_may_see(PG_FUNCTION_ARGS)
{
	char	   *key;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_BOOL(superuser());
	key = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	PG_RETURN_BOOL(og_visible_incident(PG_GETARG_OID(0),
									   text_to_cstring(PG_GETARG_TEXT_PP(1)),
									   text_to_cstring(PG_GETARG_TEXT_PP(2)),
									   key));
}
