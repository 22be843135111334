/*
 * detect_vanished.c
 *		Attempts that failed and whose place nothing has taken.
 *
 * Runs in the worker.  An attempt is judged once, vanish_grace after it
 * failed.  What takes its place: the same token; the same key (an insert: the
 * row exists; a change: the row is not what it was before); for an insert, a
 * later one of the same session, which drain marks.  The rest is an incident,
 * for each order or, where no order is known, for each relation and SQLSTATE.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "detect.h"
#include "incident.h"
#include "open.h"
#include "query.h"
#include "verify.h"

#define BATCH 1000

typedef struct Attempt
{
	int64		id;
	char	   *key;
	unsigned char hash[16];
	char		operation;
	bool		unheard;		/* it committed: see report_unheard() */
	char	   *old_status;
	char	   *new_status;
	char	   *cause;
	char	   *sqlstate;
	char	   *reason;
	char	   *token;
	char	   *amount;
	char	   *customer;
	int64		rows;
	char	   *evidence;
	TimestampTz ended;
	const char *verdict;
} Attempt;

static OgPlan fetch_plan = {
	"SELECT id, key, hash, operation::text, old_status, new_status, cause, "
	"sqlstate, reason, token, amount::text, customer, rows, "
	"jsonb_strip_nulls(jsonb_build_object('attempt', id, 'operation', "
	"operation::text, 'old_status', old_status, 'new_status', new_status, "
	"'outcome', outcome, 'cause', cause, 'sqlstate', sqlstate, 'reason', "
	"reason, 'constraint', constraint_name, 'token', token, 'amount', amount, "
	"'xid', xid::text, 'pid', pid, 'usename', usename, 'application_name', "
	"application_name, 'client_addr', client_addr, 'started_at', started_at, "
	"'ended_at', ended_at))::text, ended_at, outcome = 'unacknowledged' "
	"FROM order_guard.attempt WHERE judge_at <= $2 "
	"AND watch = $1 ORDER BY judge_at, id LIMIT " CppAsString2(BATCH), NULL
};

static Attempt *
read_attempt(int row)
{
	Attempt    *attempt = palloc0(sizeof(Attempt));

	attempt->id = DatumGetInt64(og_query_datum(row, 0));
	attempt->key = og_query_text(row, 1);
	if (!og_query_null(row, 2))
		memcpy(attempt->hash, DatumGetUUIDP(og_query_datum(row, 2))->data, 16);
	attempt->operation = og_query_text(row, 3)[0];
	attempt->old_status = og_query_text(row, 4);
	attempt->new_status = og_query_text(row, 5);
	attempt->cause = og_query_text(row, 6);
	attempt->sqlstate = og_query_text(row, 7);
	attempt->reason = og_query_text(row, 8);
	attempt->token = og_query_text(row, 9);
	attempt->amount = og_query_text(row, 10);
	attempt->customer = og_query_text(row, 11);
	attempt->rows = DatumGetInt64(og_query_datum(row, 12));
	attempt->evidence = og_query_text(row, 13);
	attempt->ended = DatumGetTimestampTz(og_query_datum(row, 14));
	attempt->unheard = DatumGetBool(og_query_datum(row, 15));
	return attempt;
}

static List *
fetch_attempts(const OgWatch *watch)
{
	Oid			types[] = {INT4OID, TIMESTAMPTZOID};
	Datum		values[] = {
		Int32GetDatum(watch->id),
		TimestampTzGetDatum(GetCurrentTimestamp())
	};
	List	   *attempts = NIL;

	og_query_run(&fetch_plan, 2, types, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
		attempts = lappend(attempts, read_attempt(row));
	return attempts;
}

/* Did the row take the attempt's place, or is it not as what committed? */
static bool
row_replaces(const Attempt *attempt, const OgPresent *present)
{
	if (attempt->unheard)
		return present->found == (attempt->operation == 'D') &&
			!present->poisoned;
	if (attempt->operation == 'I')
		return present->found || present->poisoned;
	if (!present->found)
		return true;			/* deleted: told elsewhere, or what was meant */
	if (attempt->old_status == NULL || present->status == NULL)
		return attempt->old_status != present->status;
	if (attempt->new_status && attempt->operation == 'U' &&
		strcmp(attempt->old_status, attempt->new_status) == 0)
		return true;			/* it was not the status that was to change */
	return strcmp(attempt->old_status, present->status) != 0;
}

static bool
match_keys(OgWatch *watch, List *attempts)
{
	List	   *keyed = NIL;
	List	   *keys = NIL;
	OgPresent  *present;
	ListCell   *cell;

	foreach(cell, attempts)
	{
		Attempt    *attempt = lfirst(cell);

		if (attempt->key == NULL)
			continue;
		keyed = lappend(keyed, attempt);
		keys = lappend(keys, attempt->key);
	}
	if (keys == NIL)
		return true;
	if (og_verify_keys(watch, keys, &present) != OG_OWNER_DONE)
		return false;
	foreach(cell, keyed)
	{
		Attempt    *attempt = lfirst(cell);

		if (row_replaces(attempt, &present[foreach_current_index(cell)]))
			attempt->verdict = "replaced";
	}
	return true;
}

static void
mark_token(List *attempts, const char *token)
{
	ListCell   *cell;

	foreach(cell, attempts)
	{
		Attempt    *attempt = lfirst(cell);

		if (attempt->token && strcmp(attempt->token, token) == 0 &&
			!attempt->unheard)
			attempt->verdict = "replaced";
	}
}

static bool
match_tokens(OgWatch *watch, List *attempts)
{
	Datum	   *tokens = palloc((list_length(attempts) + 1) * sizeof(Datum));
	int			n = 0;
	ListCell   *cell;
	Oid			types[] = {TEXTARRAYOID};
	Datum		values[1];

	if (watch->token == NULL)
		return true;
	foreach(cell, attempts)
	{
		Attempt    *attempt = lfirst(cell);

		if (attempt->token && attempt->verdict == NULL &&
			attempt->operation == 'I' && !attempt->unheard)
			tokens[n++] = CStringGetTextDatum(attempt->token);
	}
	if (n == 0)
		return true;
	values[0] = og_query_array(tokens, NULL, n, TEXTOID);
	if (og_owner_query(watch,
					   psprintf("SELECT %s::pg_catalog.text FROM %s "
								"WHERE %s = ANY ($1::%s[])", watch->token,
								watch->name, watch->token, watch->token_type),
					   1, types, values) != OG_OWNER_DONE)
		return false;
	for (uint64 row = 0; row < SPI_processed; row++)
		mark_token(attempts, og_query_text(row, 0));
	return true;
}

static char *
describe(const OgWatch *watch, const Attempt *attempt, int64 count)
{
	char	   *why = psprintf("%s%s%s%s",
							   attempt->reason ? attempt->reason :
							   "the reason is not known",
							   attempt->sqlstate ? " (SQLSTATE " : "",
							   attempt->sqlstate ? attempt->sqlstate : "",
							   attempt->sqlstate ? ")" : "");

	if (attempt->key == NULL)
		return psprintf("statements on %s failed and left no order: %s",
						watch->name, why);
	if (count > 1)
		return psprintf("work on " INT64_FORMAT " orders of %s was lost: %s",
						count, watch->name, why);
	if (attempt->operation == 'I')
		return psprintf("order %s of %s was not placed: %s", attempt->key,
						watch->name, why);
	if (attempt->operation == 'D')
		return psprintf("the deletion of order %s of %s was lost: %s",
						attempt->key, watch->name, why);
	return psprintf("the change of order %s of %s from %s to %s was lost: %s",
					attempt->key, watch->name,
					attempt->old_status ? attempt->old_status : "NULL",
					attempt->new_status ? attempt->new_status : "NULL", why);
}

static OgIncident
make_incident(OgWatch *watch, const Attempt *attempt)
{
	OgIncident	incident = {.kind = "vanished",.count = attempt->rows};

	incident.watch = watch->id;
	incident.relation = watch->relation;
	incident.severity = attempt->cause &&
		strcmp(attempt->cause, "rollback") == 0 ? "info" : "warning";
	memcpy(incident.hash, attempt->hash, 16);
	incident.amount = attempt->amount;
	incident.since = attempt->ended;
	incident.evidence = attempt->evidence;
	return incident;
}

static void
report(OgWatch *watch, const Attempt *attempt)
{
	OgIncident	incident = make_incident(watch, attempt);

	incident.summary = describe(watch, attempt, 1);
	incident.key = attempt->key;
	incident.status = attempt->old_status;
	incident.customer = attempt->customer;
	incident.may_storm = true;
	og_incident_open(&incident);
}

static char *
describe_unheard(const OgWatch *watch, const Attempt *attempt)
{
	const char *order = attempt->key ?
		psprintf("order %s of %s", attempt->key, watch->name) :
		psprintf(INT64_FORMAT " orders of %s", attempt->rows, watch->name);

	if (attempt->key && attempt->operation == 'I')
		return psprintf("%s was placed: %s", order, attempt->reason);
	if (attempt->key && attempt->operation == 'D')
		return psprintf("%s was deleted: %s", order, attempt->reason);
	if (attempt->key && attempt->new_status)
		return psprintf("%s was changed to %s: %s", order,
						attempt->new_status, attempt->reason);
	return psprintf("work on %s was done: %s", order, attempt->reason);
}

/*
 * The order is as its client wanted it, but he may not know.  Nobody has lost
 * anything unless he tries again without a token.
 */
static void
report_unheard(OgWatch *watch, Attempt *attempt)
{
	OgIncident	incident = make_incident(watch, attempt);

	attempt->verdict = "unacknowledged";
	incident.kind = attempt->verdict;
	incident.severity = "info";
	if (attempt->key == NULL)
		og_detect_hash(incident.hash, psprintf(INT64_FORMAT, attempt->id),
					   watch->id);
	incident.summary = describe_unheard(watch, attempt);
	incident.key = attempt->key;
	incident.status = attempt->new_status;
	incident.customer = attempt->customer;
	incident.may_storm = true;
	og_incident_open(&incident);
}

/* What attempts are counted together by; NULL: it is told of by itself. */
static const char *
group_of(const OgWatch *watch, const Attempt *attempt)
{
	if (attempt->verdict || attempt->unheard ||
		(attempt->key && watch->vanished != OG_VANISHED_GROUP))
		return NULL;
	return attempt->sqlstate ? attempt->sqlstate :
		attempt->cause ? attempt->cause : "";
}

/* Adds to a group's incident, if one is open, these attempts. */
static void
add_to_open(OgIncident *incident, Datum *amounts, int n)
{
	static OgPlan plan = {
		"SELECT $3 + coalesce(o.count, 0), "
		"coalesce(o.amount + s.total, o.amount, s.total)::text "
		"FROM (SELECT sum(a::numeric) AS total FROM unnest($4) a) s "
		"LEFT JOIN order_guard.incident o ON o.watch = $1 AND o.hash = $2 "
		"AND o.kind = 'vanished' AND o.state = 'open'", NULL
	};
	pg_uuid_t	hash;
	Oid			types[] = {INT4OID, UUIDOID, INT8OID, TEXTARRAYOID};
	Datum		values[4];

	memcpy(hash.data, incident->hash, 16);
	values[0] = Int32GetDatum(incident->watch);
	values[1] = UUIDPGetDatum(&hash);
	values[2] = Int64GetDatum(incident->count);
	values[3] = og_query_array(amounts, NULL, n, TEXTOID);
	og_query_run(&plan, 4, types, values, NULL);
	incident->count = DatumGetInt64(og_query_datum(0, 0));
	incident->amount = og_query_text(0, 1);
}

/* One incident for all attempts of the group, from number "first" on. */
static void
report_group(OgWatch *watch, List *attempts, int first, const char *group)
{
	int			n = list_length(attempts);
	Datum	   *amounts = palloc(n * sizeof(Datum));
	int			namounts = 0;
	int64		rows = 0;
	Attempt    *last = NULL;
	OgIncident	incident;

	for (int i = first; i < n; i++)
	{
		Attempt    *attempt = list_nth(attempts, i);
		const char *other = group_of(watch, attempt);

		if (other == NULL || strcmp(other, group) != 0)
			continue;
		attempt->verdict = "vanished";
		rows += attempt->rows;
		if (attempt->amount)
			amounts[namounts++] = CStringGetTextDatum(attempt->amount);
		last = attempt;
	}
	incident = make_incident(watch, last);
	incident.count = rows;
	og_detect_hash(incident.hash, group, watch->id);
	add_to_open(&incident, amounts, namounts);
	incident.summary = describe(watch, last, incident.count);
	og_incident_open(&incident);
}

static void
settle_attempts(List *attempts)
{
	static OgPlan plan = {
		"UPDATE order_guard.attempt a SET judge_at = NULL, verdict = v "
		"FROM unnest($1, $2) AS u (i, v) WHERE a.id = u.i", NULL
	};
	int			n = list_length(attempts);
	Datum	   *ids = palloc(n * sizeof(Datum));
	Datum	   *verdicts = palloc(n * sizeof(Datum));
	Oid			types[] = {INT8ARRAYOID, TEXTARRAYOID};
	Datum		values[2];

	for (int i = 0; i < n; i++)
	{
		Attempt    *attempt = list_nth(attempts, i);

		ids[i] = Int64GetDatum(attempt->id);
		verdicts[i] = CStringGetTextDatum(attempt->verdict);
	}
	values[0] = og_query_array(ids, NULL, n, INT8OID);
	values[1] = og_query_array(verdicts, NULL, n, TEXTOID);
	og_query_run(&plan, 2, types, values, NULL);
}

/*
 * og_detect_vanished
 *		Judges the attempts of a watch whose grace is over.
 */
void
og_detect_vanished(OgWatch *watch)
{
	List	   *attempts = fetch_attempts(watch);
	ListCell   *cell;

	if (attempts == NIL || !match_keys(watch, attempts) ||
		!match_tokens(watch, attempts))
		return;
	foreach(cell, attempts)
	{
		Attempt    *attempt = lfirst(cell);
		const char *group = group_of(watch, attempt);

		if (attempt->unheard && attempt->verdict == NULL)
			report_unheard(watch, attempt);
		else if (group)
			report_group(watch, attempts, foreach_current_index(cell), group);
		else if (attempt->verdict == NULL)
		{
			attempt->verdict = "vanished";
			report(watch, attempt);
		}
		else if (attempt->key && !attempt->unheard)
			og_open_clear(watch->id, "vanished", attempt->hash,
						  "the order appeared");
	}
	settle_attempts(attempts);
}

/*
 * og_detect_vanished_again
 *		After a sweep: what was missed may have come while nobody noted it, so
 *		it is judged once more.
 */
void
og_detect_vanished_again(const OgWatch *watch)
{
	static OgPlan plan = {
		"UPDATE order_guard.attempt a SET judge_at = clock_timestamp() "
		"FROM order_guard.incident i WHERE i.watch = $1 "
		"AND i.kind = 'vanished' AND i.state = 'open' AND i.key IS NOT NULL "
		"AND a.id = (i.evidence->>'attempt')::bigint AND a.watch = $1", NULL
	};
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(watch->id)};

	og_query_run(&plan, 1, types, values, NULL);
}
