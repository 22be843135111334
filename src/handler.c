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

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "handler.h"
#include "handler_private.h"
#include "incident_private.h"
#include "owner.h"
#include "query.h"

#define TICK_BUDGET	1000		/* ms */
#define REST		60000		/* ms, after a handler took too long */
#define SHORT_REST	1000		/* ms, after something was locked */
#define DOUBLINGS	6
#define MAX_DETAIL	1000		/* bytes */

/* What is not tried before a while: a handler, or one action. */
typedef struct Rest
{
	int64		action;			/* 0: all of that watch and kind */
	int			watch;
	char		kind[NAMEDATALEN];
	int			times;
	TimestampTz until;
} Rest;

static Rest resting[512];
static OgHandlerJob job;
static TimestampTz enough;

static bool
is_meant(const Rest *rest, const OgHandlerJob *who, bool whole)
{
	if (!whole)
		return rest->action == who->action;
	return rest->action == 0 && rest->watch == who->watch &&
		strcmp(rest->kind, who->kind) == 0;
}

/* The one, or a new one in place of the oldest. */
static Rest *
find_rest(const OgHandlerJob *who, bool whole)
{
	Rest	   *oldest = &resting[0];

	for (int i = 0; i < lengthof(resting); i++)
	{
		if (is_meant(&resting[i], who, whole))
			return &resting[i];
		if (resting[i].until < oldest->until)
			oldest = &resting[i];
	}
	oldest->action = whole ? 0 : who->action;
	oldest->watch = who->watch;
	strlcpy(oldest->kind, who->kind, NAMEDATALEN);
	oldest->times = 0;
	return oldest;
}

static void
let_rest(const OgHandlerJob *who, bool whole, int ms)
{
	Rest	   *rest = find_rest(who, whole);

	rest->until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											  (int64) ms << rest->times);
	rest->times = Min(rest->times + 1, DOUBLINGS);
}

/*
 * og_handler_took_too_long
 *		The handler rests, whatever it is asked to do.
 */
void
og_handler_took_too_long(const OgHandlerJob *who)
{
	let_rest(who, true, REST);
}

/*
 * og_handler_ended
 *		It came to its end, for better or worse.
 */
void
og_handler_ended(const OgHandlerJob *who)
{
	for (int i = 0; i < lengthof(resting); i++)
		if (is_meant(&resting[i], who, true))
			memset(&resting[i], 0, sizeof(Rest));
}

/* Those that rest: text[] of "watch kind", bigint[] of actions. */
static void
list_resting(Datum *handlers, Datum *actions)
{
	TimestampTz now = GetCurrentTimestamp();
	Datum		names[lengthof(resting)];
	Datum		ids[lengthof(resting)];
	int			nnames = 0;
	int			nids = 0;

	for (int i = 0; i < lengthof(resting); i++)
	{
		const Rest *rest = &resting[i];

		if (rest->until <= now)
			continue;
		if (rest->action != 0)
			ids[nids++] = Int64GetDatum(rest->action);
		else
			names[nnames++] = CStringGetTextDatum(psprintf("%d %s",
														   rest->watch,
														   rest->kind));
	}
	*handlers = og_query_array(names, NULL, nnames, TEXTOID);
	*actions = og_query_array(ids, NULL, nids, INT8OID);
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
record(const OgHandlerOutcome *outcome)
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

static void
begin_outcome(OgHandlerOutcome *outcome)
{
	memset(outcome, 0, sizeof(*outcome));
	initStringInfo(&outcome->proof);
}

static void
fail_lost_job(void)
{
	OgHandlerOutcome outcome;

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
		"AND a.id <> ALL ($2) "
		"ORDER BY a.id LIMIT 1 FOR UPDATE OF a SKIP LOCKED", NULL
	};
	Oid			types[] = {TEXTARRAYOID, INT8ARRAYOID};
	Datum		values[2];

	list_resting(&values[0], &values[1]);
	og_query_run(&plan, 2, types, values, NULL);
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
finish_job(OgHandlerOutcome *outcome)
{
	if (outcome->result == NULL && job.late)
		outcome->result = "failed";
	if (outcome->result == NULL)
	{
		let_rest(&job, false, SHORT_REST);
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
	OgHandlerOutcome outcome;

	begin_outcome(&outcome);
	og_handler_try(&job, &outcome);
	finish_job(&outcome);
}

/*
 * og_handler_lost
 *		What it did could not be committed, or our own part failed.
 */
void
og_handler_lost(const ErrorData *error)
{
	OgHandlerOutcome outcome;

	begin_outcome(&outcome);
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		og_handler_took_too_long(&job);
	og_handler_prove(&outcome, "sqlstate",
					 unpack_sql_state(error->sqlerrcode));
	outcome.result = "failed";
	outcome.detail = og_handler_error(error);
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
