/*
 * handler.c
 *		Handlers: functions of a table's owner that deal with incidents.
 *
 * Runs in the worker, at the end of a tick.  What is to be handled stands in
 * order_guard.action, one row each:
 *
 *		queued --> begun (started_at) --> done, refused, moved_on, failed
 *		   ^          |
 *		   +----------+  something was locked
 *
 * That it has begun is committed before the function is called, so one that
 * takes the worker or the server down with it is not called again.  The
 * function, the result and the end of the incident are one transaction.  It
 * runs as the table's owner (owner_call.c).  The incident's row is locked
 * before, the order's rows are what the function locks; nobody who locks the
 * incident is waited for.
 *
 * No handler begins when those before it have taken TICK_BUDGET.  One that
 * takes too long rests, for longer each time.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "handler.h"
#include "handler_private.h"
#include "incident_private.h"
#include "query.h"
#include "verify.h"

#define TICK_BUDGET	1000		/* ms */
#define REST		60000		/* ms, after a handler took too long */
#define SHORT_REST	1000		/* ms, after something was locked */
#define DOUBLINGS	6
#define MAX_DETAIL	1000		/* bytes */

/* What was taken. */
typedef struct Job
{
	int64		action;
	int64		incident;
	int			watch;
	char		kind[NAMEDATALEN];
	bool		late;			/* it has waited long enough for locks */
} Job;

/* The incident and its handler. */
typedef struct Case
{
	char	   *state;
	char	   *status;			/* or NULL, as all below */
	char	   *key;
	char	   *name;			/* of the handler */
	int			limit;			/* ms */
	Oid			function;
	char	   *problem;
} Case;

typedef struct Outcome
{
	const char *result;			/* NULL: to be tried again */
	char	   *detail;
	char	   *resolution;		/* not NULL: the incident ends */
	StringInfoData proof;		/* members of a JSON object */
} Outcome;

/* Handlers that rest, by watch and kind. */
typedef struct Rest
{
	int			watch;
	char		kind[NAMEDATALEN];
	int			times;
	TimestampTz until;
} Rest;

static Rest resting[64];
static Job	job;
static TimestampTz enough;

static Rest *
find_rest(void)
{
	Rest	   *oldest = &resting[0];

	for (int i = 0; i < lengthof(resting); i++)
	{
		if (resting[i].watch == job.watch &&
			strcmp(resting[i].kind, job.kind) == 0)
			return &resting[i];
		if (resting[i].until < oldest->until)
			oldest = &resting[i];
	}
	oldest->watch = job.watch;
	strlcpy(oldest->kind, job.kind, NAMEDATALEN);
	oldest->times = 0;
	return oldest;
}

static void
let_rest(int ms)
{
	Rest	   *rest = find_rest();

	rest->until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											  (int64) ms << rest->times);
	rest->times = Min(rest->times + 1, DOUBLINGS);
}

/* It came to its end. */
static void
end_rest(void)
{
	for (int i = 0; i < lengthof(resting); i++)
		if (resting[i].watch == job.watch &&
			strcmp(resting[i].kind, job.kind) == 0)
			memset(&resting[i], 0, sizeof(Rest));
}

/* Those that rest, as text[] of "watch kind". */
static Datum
list_resting(void)
{
	TimestampTz now = GetCurrentTimestamp();
	Datum		names[lengthof(resting)];
	int			n = 0;

	for (int i = 0; i < lengthof(resting); i++)
		if (resting[i].until > now)
			names[n++] = CStringGetTextDatum(psprintf("%d %s",
													  resting[i].watch,
													  resting[i].kind));
	return og_query_array(names, NULL, n, TEXTOID);
}

/* What a handler says, as people may be shown it. */
static char *
presentable(const char *text)
{
	char	   *copy = pnstrdup(text, pg_mbcliplen(text, strlen(text),
												   MAX_DETAIL));

	og_incident_sanitise(copy);
	return copy;
}

static void
record(const Outcome *outcome)
{
	static OgPlan plan = {
		"UPDATE order_guard.action SET result = $2, detail = $3, "
		"proof = $4::jsonb, done_at = clock_timestamp() WHERE id = $1", NULL
	};
	Oid			types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[4];

	values[0] = Int64GetDatum(job.action);
	values[1] = CStringGetTextDatum(outcome->result);
	values[2] = CStringGetTextDatum(presentable(outcome->detail));
	values[3] = CStringGetTextDatum(psprintf("{%s}", outcome->proof.data));
	og_query_run(&plan, 4, types, values, NULL);
}

/* Another member of the proof; value is JSON. */
static void
prove(Outcome *outcome, const char *name, const char *value)
{
	appendStringInfo(&outcome->proof, "%s\"%s\": %s",
					 outcome->proof.len > 0 ? ", " : "", name, value);
}

static void
prove_text(Outcome *outcome, const char *name, const char *text)
{
	StringInfoData json;

	initStringInfo(&json);
	if (text)
		escape_json(&json, text);
	else
		appendStringInfoString(&json, "null");
	prove(outcome, name, json.data);
}

static void
begin_outcome(Outcome *outcome)
{
	memset(outcome, 0, sizeof(*outcome));
	initStringInfo(&outcome->proof);
}

static void
fail_lost_job(void)
{
	Outcome		outcome;

	begin_outcome(&outcome);
	outcome.result = "failed";
	outcome.detail = pstrdup("the worker ended while this ran; it is not "
							 "tried again");
	record(&outcome);
}

/*
 * og_handler_begin_tick
 *		There is a new budget.
 */
void
og_handler_begin_tick(void)
{
	enough = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), TICK_BUDGET);
}

/*
 * Reads what is next; false if there is nothing.  *begun: by a worker that
 * did not live to see its end.
 */
static bool
next_job(bool *begun)
{
	static OgPlan plan = {
		"SELECT a.id, a.incident, coalesce(i.watch, 0), "
		"coalesce(i.kind, ''), a.started_at IS NOT NULL, "
		"a.at < clock_timestamp() - interval '10 min' "
		"FROM order_guard.action a "
		"LEFT JOIN order_guard.incident i ON i.id = a.incident "
		"WHERE a.result = 'queued' AND a.action = 'handler' "
		"AND coalesce(i.watch || ' ' || i.kind <> ALL ($1), true) "
		"ORDER BY a.id LIMIT 1 FOR UPDATE OF a SKIP LOCKED", NULL
	};
	Oid			types[] = {TEXTARRAYOID};
	Datum		values[] = {list_resting()};

	og_query_run(&plan, 1, types, values, NULL);
	if (SPI_processed == 0)
		return false;
	job.action = DatumGetInt64(og_query_datum(0, 0));
	job.incident = DatumGetInt64(og_query_datum(0, 1));
	job.watch = DatumGetInt32(og_query_datum(0, 2));
	strlcpy(job.kind, og_query_text(0, 3), NAMEDATALEN);
	*begun = DatumGetBool(og_query_datum(0, 4));
	job.late = DatumGetBool(og_query_datum(0, 5));
	return true;
}

static void
note_start(bool started)
{
	static OgPlan plan = {
		"UPDATE order_guard.action SET started_at = "
		"CASE WHEN $2 THEN clock_timestamp() END WHERE id = $1", NULL
	};
	Oid			types[] = {INT8OID, BOOLOID};
	Datum		values[] = {Int64GetDatum(job.action), BoolGetDatum(started)};

	og_query_run(&plan, 2, types, values, NULL);
}

/*
 * og_handler_take
 *		Takes what is next; false if there is nothing, or no time for it.
 */
bool
og_handler_take(void)
{
	bool		begun;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (GetCurrentTimestamp() >= enough || !next_job(&begun))
			return false;
		if (!begun)
			break;
		fail_lost_job();
	}
	note_start(true);
	return true;
}

/*
 * Locks and reads the incident.  If it is locked result stays NULL.
 */
static bool
open_case(Case *c, Outcome *outcome)
{
	static OgPlan plan = {
		"SELECT i.state, i.status, i.key, w.options -> 'handlers' ->> i.kind, "
		"coalesce((extract(epoch FROM (w.options ->> 'handler_timeout')"
		"::interval) * 1000)::integer, 5000), f.function, f.problem "
		"FROM order_guard.incident i "
		"LEFT JOIN order_guard.watch w ON w.id = i.watch "
		"LEFT JOIN LATERAL order_guard._find_handler(w.relation, "
		"w.options -> 'handlers' ->> i.kind) f ON true "
		"WHERE i.id = $1 FOR UPDATE OF i SKIP LOCKED", NULL
	};
	static OgPlan exists_plan = {
		"SELECT FROM order_guard.incident WHERE id = $1", NULL
	};
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(job.incident)};

	og_query_run(&plan, 1, types, values, NULL);
	if (SPI_processed == 0)
	{
		og_query_run(&exists_plan, 1, types, values, NULL);
		if (SPI_processed == 0)
			outcome->result = "moved_on";
		outcome->detail = pstrdup(outcome->result ? "the incident is gone" :
								  "somebody holds the incident");
		return false;
	}
	c->state = og_query_text(0, 0);
	c->status = og_query_text(0, 1);
	c->key = og_query_text(0, 2);
	c->name = og_query_text(0, 3);
	c->limit = DatumGetInt32(og_query_datum(0, 4));
	c->function = og_query_null(0, 5) ? InvalidOid :
		DatumGetObjectId(og_query_datum(0, 5));
	c->problem = og_query_text(0, 6);
	return true;
}

static void
conclude(Outcome *outcome, const char *result, char *detail)
{
	outcome->result = result;
	outcome->detail = detail;
}

/*
 * Did the order leave its status?  Read with a snapshot that sees what the
 * handler did.
 */
static bool
has_moved(OgWatch *watch, const Case *c, Outcome *outcome)
{
	OgPresent  *present;
	OgOwnerResult read;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	read = og_verify_keys(watch, list_make1(c->key), &present);
	PopActiveSnapshot();
	prove_text(outcome, "expected", c->status);
	if (read != OG_OWNER_DONE || present->poisoned)
		outcome->detail = pstrdup("it says resolved, but the order cannot "
								  "be read");
	else if (!present->found)
		outcome->detail = pstrdup("it says resolved, but the order is gone");
	else
	{
		prove_text(outcome, "found", present->status);
		if (present->status == NULL || strcmp(present->status, c->status) != 0)
			return true;
		outcome->detail = psprintf("it says resolved, but the order is still "
								   "%s", c->status);
	}
	outcome->result = "refused";
	return false;
}

/*
 * A handler's word ends an incident, but for what can be looked at: an order
 * that is stuck must have moved, a transaction that is open must have ended.
 */
static bool
may_end(OgWatch *watch, const Case *c, Outcome *outcome)
{
	static const char *const other[] = {
		"uncommitted", "prepared", "coverage", "storm"
	};

	for (int i = 0; i < lengthof(other); i++)
	{
		if (strcmp(job.kind, other[i]) != 0)
			continue;
		conclude(outcome, "refused", psprintf("it says resolved, but %s "
											  "goes away by itself only",
											  job.kind));
		return false;
	}
	if (c->key == NULL || c->status == NULL ||
		(strcmp(job.kind, "stalled") != 0 &&
		 strcmp(job.kind, "vanished") != 0))
		return true;
	return has_moved(watch, c, outcome);
}

static void
judge(OgWatch *watch, const Case *c, const OgHandlerCall *call,
	  Outcome *outcome)
{
	end_rest();
	prove(outcome, "returned", call->returned ? call->returned : "null");
	if (call->resolved && !may_end(watch, c, outcome))
		return;
	conclude(outcome, "done", call->note ? call->note :
			 pstrdup(call->resolved ? "resolved" : "has run"));
	if (call->resolved)
		outcome->resolution = outcome->detail;
}

/*
 * What went wrong: what is locked is tried again for a while.
 */
static void
explain_error(const Case *c, OgOwnerResult result, const ErrorData *error,
			  Outcome *outcome)
{
	if (error == NULL && result == OG_OWNER_FAILED)
		conclude(outcome, "refused", pstrdup("the table is gone"));
	else if (error && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
	{
		let_rest(REST);
		conclude(outcome, "failed", psprintf("took longer than %d ms",
											 c->limit));
	}
	else if (error && result == OG_OWNER_FAILED &&
			 ERRCODE_TO_CATEGORY(error->sqlerrcode) !=
			 ERRCODE_TRANSACTION_ROLLBACK)
	{
		end_rest();
		conclude(outcome, "failed",
				 psprintf("%s: %s", unpack_sql_state(error->sqlerrcode),
						  error->message));
	}
	else
		outcome->detail = error ? error->message :
			pstrdup("the table is locked");
	if (error)
		prove_text(outcome, "sqlstate", unpack_sql_state(error->sqlerrcode));
}

static void
run(OgWatch *watch, const Case *c, Outcome *outcome)
{
	OgHandlerCall call = {c->function, job.incident};
	TimestampTz start = GetCurrentTimestamp();
	OgOwnerResult result;
	ErrorData  *error;

	call.context = CurrentMemoryContext;
	prove_text(outcome, "handler", c->name);
	result = og_owner_call(watch, c->limit, og_handler_invoke, &call, &error);
	prove(outcome, "ms", psprintf("%ld", TimestampDifferenceMilliseconds
								  (start, GetCurrentTimestamp())));
	if (result == OG_OWNER_DONE)
		judge(watch, c, &call, outcome);
	else
		explain_error(c, result, error, outcome);
}

static void
try_case(Outcome *outcome)
{
	Case		c = {0};
	OgWatch    *watch;

	if (!open_case(&c, outcome))
		return;
	watch = og_watch_find(job.watch);
	if (strcmp(c.state, "open") != 0)
		conclude(outcome, "moved_on",
				 psprintf("the incident is %s already", c.state));
	else if (watch == NULL || !OidIsValid(watch->relation))
		conclude(outcome, "refused",
				 pstrdup("the table is not watched any more"));
	else if (c.name == NULL)
		conclude(outcome, "refused",
				 psprintf("there is no handler of %s any more", job.kind));
	else if (c.problem)
	{
		conclude(outcome, "failed", c.problem);
		og_handler_check(watch);
	}
	else
		run(watch, &c, outcome);
}

static void
close_incident(const char *resolution)
{
	static OgPlan plan = {
		"UPDATE order_guard.incident AS i SET state = 'resolved', "
		"closed_at = clock_timestamp(), resolution = $2 "
		"WHERE i.id = $1 AND i.state = 'open' RETURNING "
		OG_EVENT_COLUMNS("i"), NULL
	};
	Oid			types[] = {INT8OID, TEXTOID};
	Datum		values[2];

	values[0] = Int64GetDatum(job.incident);
	values[1] = CStringGetTextDatum(psprintf("%s by handler of %s",
											 presentable(resolution),
											 job.kind));
	og_query_run(&plan, 2, types, values, NULL);
	if (SPI_processed > 0)
		og_event_add("resolved", 0);
}

/*
 * Writes down what came of it.
 */
static void
finish_job(Outcome *outcome)
{
	if (outcome->result == NULL && job.late)
		outcome->result = "failed";
	if (outcome->result == NULL)
	{
		let_rest(SHORT_REST);
		note_start(false);
		return;
	}
	record(outcome);
	if (outcome->resolution)
		close_incident(outcome->resolution);
}

/*
 * og_handler_call
 *		Runs what was taken.  The caller commits.
 */
void
og_handler_call(void)
{
	Outcome		outcome;

	begin_outcome(&outcome);
	try_case(&outcome);
	finish_job(&outcome);
}

/*
 * og_handler_lost
 *		What it did could not be committed, or our own part failed.
 */
void
og_handler_lost(const ErrorData *error)
{
	Outcome		outcome;

	begin_outcome(&outcome);
	let_rest(SHORT_REST);
	prove_text(&outcome, "sqlstate", unpack_sql_state(error->sqlerrcode));
	conclude(&outcome, "failed",
			 psprintf("%s: %s", unpack_sql_state(error->sqlerrcode),
					  error->message));
	record(&outcome);
}

/*
 * og_handler_problem
 *		See handler.h.
 */
char *
og_handler_problem(const OgWatch *watch)
{
	static OgPlan plan = {
		"SELECT 'handler of ' || h.key || ': ' || f.problem "
		"FROM order_guard.watch w, "
		"jsonb_each_text(w.options -> 'handlers') h, "
		"order_guard._find_handler(w.relation, h.value) f "
		"WHERE w.id = $1 AND f.problem IS NOT NULL ORDER BY h.key LIMIT 1",
		NULL
	};
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(watch->id)};

	if (!watch->handlers)
		return NULL;
	og_query_run(&plan, 1, types, values, NULL);
	return SPI_processed > 0 ? og_query_text(0, 0) : NULL;
}

/*
 * og_handler_check
 *		See handler.h.
 */
void
og_handler_check(OgWatch *watch)
{
	char	   *problem = og_handler_problem(watch);

	if (problem)
		og_owner_note_error(watch, problem);
}
