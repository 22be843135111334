/*
 * owner.c
 *		Queries on guarded tables, run as their owners.
 *
 * Runs in the worker.  Whatever the owner of a table put into a status
 * expression, a type or a policy runs as that owner (owner_call.c).  Row
 * security is off, so that what it hides is an error and not an absence.  A
 * table that is locked is left for the next tick, one on which a query took
 * too long rests for a while.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "owner.h"
#include "query.h"

#define TIME_LIMIT	10000		/* ms */
#define REST		60000		/* ms, after the time limit was reached */

typedef struct Reading
{
	const char *table;			/* for messages */
	const char *sql;
	int			nargs;
	Oid		   *types;
	Datum	   *values;
} Reading;

/*
 * As the owner; throws what it throws.  A table is read by a few keys, or a
 * few of its pages.
 */
static void
run_query(void *arg)
{
	Reading    *query = arg;
	int			result;

	og_owner_pin("enable_hashjoin", "off");
	og_owner_pin("enable_mergejoin", "off");
	result = SPI_execute_with_args(query->sql, query->nargs, query->types,
								   query->values, NULL, true, 0);
	if (result < 0)
		elog(ERROR, "could not read %s: %s", query->table,
			 SPI_result_code_string(result));
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
after_error(OgWatch *watch, const ErrorData *error, char **message)
{
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		let_rest(watch->id);
	if (message && is_of_a_row(error->sqlerrcode))
	{
		*message = error->message;
		return OG_OWNER_POISONED;
	}
	og_owner_note_error(watch, error->message);
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
	Reading		query = {watch->name, sql, nargs, types, values};
	ErrorData  *error;
	OgOwnerResult result;

	if (!OidIsValid(watch->relation) || watch->failed || rests(watch->id))
		return OG_OWNER_FAILED;
	if (watch->busy)
		return OG_OWNER_BUSY;
	result = og_owner_run(watch->relation, TIME_LIMIT, false, run_query,
						  &query, &error);
	if (result == OG_OWNER_DONE)
		watch->read = true;
	else if (result == OG_OWNER_FAILED && error)
		result = after_error(watch, error, message);
	else if (result == OG_OWNER_BUSY && error)
		watch->busy = true;
	return result;
}
