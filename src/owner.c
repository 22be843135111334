/*
 * owner.c
 *		Queries on guarded tables, run as their owners.
 *
 * Runs in the worker, which is a superuser: whatever the owner of a table put
 * into a status expression, a type or a policy runs as that owner, in a
 * restricted operation, under pinned settings, with a time limit and in a
 * sub-transaction.  Row security is off, so that what it hides is an error and
 * not an absence.  A table that is locked is left for the next tick, one on
 * which a query took too long rests for a while.
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
#include "utils/timestamp.h"

#include "compat.h"
#include "owner.h"
#include "query.h"

#define TIME_LIMIT	10000		/* ms */
#define REST		60000		/* ms, after the time limit was reached */

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
 *		The same error is noted once a minute at most.
 */
void
og_owner_note_error(OgWatch *watch, const char *message)
{
	static OgPlan plan = {
		"UPDATE order_guard.watch_state SET last_error = $2, "
		"last_error_at = clock_timestamp() " OG_WATCH_STATE_FREE
		" AND (last_error IS DISTINCT FROM $2 "
		"OR last_error_at < clock_timestamp() - interval '1 min')", NULL
	};
	Oid			types[] = {INT4OID, TEXTOID};
	Datum		values[] = {Int32GetDatum(watch->id),
	CStringGetTextDatum(message)};

	watch->failed = true;
	og_query_run(&plan, 2, types, values, NULL);
}

/* Watches on which a query took too long; their ids, and until when. */
static struct
{
	int			watch;
	TimestampTz until;
}			resting[64];

static void
let_rest(int watch)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < lengthof(resting); i++)
	{
		if (resting[i].until > now && resting[i].watch != watch)
			continue;
		resting[i].watch = watch;
		resting[i].until = TimestampTzPlusMilliseconds(now, REST);
		return;
	}
}

static bool
rests(int watch)
{
	for (int i = 0; i < lengthof(resting); i++)
		if (resting[i].watch == watch &&
			resting[i].until > GetCurrentTimestamp())
			return true;
	return false;
}

/* An error that the data of one row can make; a statement's are others. */
static bool
is_of_a_row(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return false;
		default:
			return true;
	}
}

static OgOwnerResult
after_error(OgWatch *watch, MemoryContext context, char **message)
{
	ErrorData  *edata;

	MemoryContextSwitchTo(context);
	disable_timeout(STATEMENT_TIMEOUT, false);
	edata = CopyErrorData();
	FlushErrorState();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	if (edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
	{
		watch->busy = true;
		return OG_OWNER_BUSY;
	}
	if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
		let_rest(watch->id);
	if (message && is_of_a_row(edata->sqlerrcode))
	{
		*message = edata->message;
		return OG_OWNER_POISONED;
	}
	og_owner_note_error(watch, edata->message);
	return OG_OWNER_FAILED;
}

OgOwnerResult
og_owner_query(OgWatch *watch, const char *sql, int nargs, Oid *types,
			   Datum *values)
{
	return og_owner_try(watch, sql, nargs, types, values, NULL);
}

/*
 * og_owner_try
 *		See owner.h.  An error of the query ends only the query.
 */
OgOwnerResult
og_owner_try(OgWatch *watch, const char *sql, int nargs, Oid *types,
			 Datum *values, char **message)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	volatile OgOwnerResult result = OG_OWNER_DONE;
	Oid			user;
	int			security;

	if (!OidIsValid(watch->relation) || watch->failed || rests(watch->id))
		return OG_OWNER_FAILED;
	if (watch->busy ||
		!ConditionalLockRelationOid(watch->relation, AccessShareLock))
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
		watch->read = true;
	}
	PG_CATCH();
	{
		SetUserIdAndSecContext(user, security);
		result = after_error(watch, context, message);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resources;
	return result;
}
