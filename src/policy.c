/*
 * policy.c
 *		What the worker does about incidents by itself.
 *
 * Runs in the worker, once a tick, after the detectors.  What is due is found
 * by order_guard._policy_plan(); each piece of it, one policy and one
 * incident, is a transaction of its own, in which everything is looked at
 * again: the policy, then the incident, both locked.  Rows that people keep
 * locked are skipped, so the worker never waits for them, and whoever of a
 * person and a policy comes second finds the incident closed.
 *
 * What was done stands with its record in the same transaction: if the worker
 * dies, either both are there or neither.  What no rollback could undo is
 * queued here, as for people, and og_action_run() does it; the next
 * og_policy_collect() notes what came of it.
 *
 * Code of a table's owner (triggers, types) runs as him: og_owner_call().
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "action_private.h"
#include "incident_private.h"
#include "owner.h"
#include "policy_private.h"
#include "query.h"
#include "settings.h"

#define MOVE_LIMIT	10000		/* ms */
#define MAX_BUSY	5			/* locked rows in a tick, 100 ms each */
#define TICK_BUDGET	1000		/* ms; no move begins after that */
#define TICK_LIMIT	2000		/* ms; nothing does */

/* A piece of work; in the memory of the tick. */
typedef struct Work
{
	char	   *policy;
	int64		incident;
	bool		over;			/* past the budget: stop the policy */
	bool		careful;		/* count the try first */
	bool		signalled;		/* the session has been dealt with */
} Work;

static Work *work;
static int	nwork;
static int	nbusy;				/* in this tick */
static TimestampTz enough;		/* of owners' code in this tick */
static TimestampTz limit;		/* of policies in this tick */

/*
 * og_policy_plan
 *		See policy.h.
 */
void
og_policy_plan(void)
{
	static OgPlan plan = {
		"SELECT policy, incident, over, careful "
		"FROM order_guard._policy_plan($1)",
		NULL
	};
	static OgPlan any = {
		"SELECT FROM order_guard.policy WHERE enabled LIMIT 1", NULL
	};
	static const Oid types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(og_policy_budget)};
	TimestampTz now;

	nwork = nbusy = 0;
	og_query_run(&any, 0, NULL, NULL, NULL);
	if (SPI_processed == 0)
		return;
	og_query_run(&plan, 1, types, values, NULL);
	now = GetCurrentTimestamp();
	enough = TimestampTzPlusMilliseconds(now, TICK_BUDGET);
	limit = TimestampTzPlusMilliseconds(now, TICK_LIMIT);
	work = palloc(Max(SPI_processed, 1) * sizeof(Work));
	for (nwork = 0; nwork < SPI_processed; nwork++)
	{
		work[nwork].policy = og_query_text(nwork, 0);
		work[nwork].incident = DatumGetInt64(og_query_datum(nwork, 1));
		work[nwork].over = DatumGetBool(og_query_datum(nwork, 2));
		work[nwork].careful = DatumGetBool(og_query_datum(nwork, 3));
		work[nwork].signalled = false;
	}
}

/*
 * og_policy_goes_on
 *		Is there this piece of work, and time for it?  If there is no time the
 *		next tick plans it anew.
 */
bool
og_policy_goes_on(int n)
{
	return n < nwork && GetCurrentTimestamp() < limit;
}

/*
 * og_policy_introduce
 *		How the policy shows in the audit.
 */
void
og_policy_introduce(OgPolicy *p)
{
	p->request.action = p->action;
	p->request.args = p->args;
	p->request.by = psprintf("policy %s", p->name);
	p->request.role = p->role;
	p->request.unattended = true;
}

/*
 * Locks a policy and reads it; false if it is off, can do nothing, or is
 * being changed.
 */
static bool
open_policy(const Work *piece, OgPolicy *p)
{
	static OgPlan plan = {
		"SELECT p.action, p.args, p.dry_run, r.oid, p.args ->> 'to', "
		"p.args ->> 'severity', coalesce(p.relation::oid, 0) "
		"FROM order_guard.policy p JOIN pg_roles r ON r.rolname = p.owner "
		"WHERE p.name = $1 AND p.enabled "
		"AND order_guard._policy_problem(p) IS NULL "
		"FOR NO KEY UPDATE OF p SKIP LOCKED", NULL
	};
	static const Oid types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(piece->policy)};

	og_query_run(&plan, 1, types, values, NULL);
	if (SPI_processed == 0)
		return false;
	p->name = piece->policy;
	p->incident = piece->incident;
	p->action = og_query_text(0, 0);
	p->args = DatumGetJsonbPCopy(og_query_datum(0, 1));
	p->dry_run = DatumGetBool(og_query_datum(0, 2));
	p->role = DatumGetObjectId(og_query_datum(0, 3));
	p->to = og_query_text(0, 4);
	p->severity = og_query_text(0, 5);
	p->relation = DatumGetObjectId(og_query_datum(0, 6));
	og_policy_introduce(p);
	return true;
}

/*
 * Locks the incident and looks at it again; false if somebody has it, or
 * there is nothing to do any more.
 */
static bool
open_incident(OgPolicy *p)
{
	static OgPlan lock = {
		"SELECT FROM order_guard.incident i WHERE i.id = $1 "
		"AND i.state = 'open' FOR UPDATE OF i SKIP LOCKED", NULL
	};
	static OgPlan look = {
		"SELECT i.watch, i.severity, order_guard._policy_objection(p, i) "
		"FROM order_guard.policy p "
		"CROSS JOIN LATERAL order_guard._policy_due(p, 1, $1) d (id) "
		"JOIN order_guard.incident i ON i.id = d.id WHERE p.name = $2", NULL
	};
	static const Oid types[] = {INT8OID, TEXTOID};
	Datum		values[] = {Int64GetDatum(p->incident),
	CStringGetTextDatum(p->name)};

	og_query_run(&lock, 1, types, values, NULL);
	if (SPI_processed == 0)
		return false;
	og_query_run(&look, 2, types, values, NULL);
	if (SPI_processed == 0)
		return false;
	p->watch = DatumGetInt32(og_query_datum(0, 0));
	p->is_severity = og_query_text(0, 1);
	p->objection = og_query_text(0, 2);
	return true;
}

/* Tells of the incident in the log and by NOTIFY, after the commit. */
void
og_policy_tell(int64 incident, const char *event)
{
	static OgPlan plan = {
		"SELECT " OG_EVENT_COLUMNS("i") " FROM order_guard.incident i "
		"WHERE i.id = $1", NULL
	};
	static const Oid types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(incident)};

	og_query_run(&plan, 1, types, values, NULL);
	if (SPI_processed > 0)
		og_event_add(event, 0);
}

/* Makes an incident more severe; what it says and who else reports it stay. */
void
og_policy_raise_severity(int64 incident, const char *severity)
{
	static OgPlan plan = {
		"SELECT order_guard._raise_severity($1, $2)", NULL
	};
	static const Oid types[] = {INT8OID, TEXTOID};
	Datum		values[] = {Int64GetDatum(incident),
	CStringGetTextDatum(severity)};

	og_query_run(&plan, 2, types, values, NULL);
}

/*
 * Records what og_action_act() does not: refusals, dry runs, and what only
 * tells.
 */
static void
record(OgPolicy *p)
{
	OgCase		c = {.id = p->incident};
	OgActionRow row;

	p->request.note = p->dry_run ? "dry run" : NULL;
	og_action_row(&c, &p->request, &p->answer, &row);
	p->answer.id = og_action_insert(&row);
}

/*
 * og_policy_answer
 *		What came of a try, and the record of it.
 */
void
og_policy_answer(OgPolicy *p, const char *result, char *detail)
{
	p->answer.result = result;
	p->answer.detail = detail;
	record(p);
}

static void
do_notify(OgPolicy *p)
{
	if (p->dry_run)
	{
		og_policy_answer(p, "would_do", "would notify");
		return;
	}
	og_policy_tell(p->incident, "notified");
	og_policy_answer(p, "done", "notified");
}

static void
do_escalate(OgPolicy *p)
{
	char	   *detail = psprintf("%s severity from %s to %s", p->dry_run ?
								  "would raise" : "raised", p->is_severity,
								  p->severity);

	if (!p->dry_run)
	{
		og_policy_raise_severity(p->incident, p->severity);
		og_policy_tell(p->incident, "escalated");
	}
	p->answer.lock = "row of the incident";
	og_proof_find(&p->answer, "severity", p->is_severity);
	og_policy_answer(p, p->dry_run ? "would_do" : "done", detail);
}

/* What is done in the name of the owner of the table. */
static void
request_action(void *arg)
{
	OgPolicy   *p = arg;

	og_action_act(p->incident, &p->request, &p->answer);
}

/*
 * Somebody holds the order, or its table.  That is no try, but others come
 * first now.
 */
static void
put_off(OgPolicy *p)
{
	static OgPlan plan = {
		"INSERT INTO order_guard.policy_try AS t (policy, incident, state, "
		"next_at) SELECT p.name, $2, 'again', clock_timestamp() "
		"+ least(p.backoff, '10 s') FROM order_guard.policy p "
		"WHERE p.name = $1 ON CONFLICT (policy, incident) DO UPDATE "
		"SET next_at = EXCLUDED.next_at, state = 'again', "
		"tries = t.tries - (t.state = 'trying')::integer", NULL
	};
	static const Oid types[] = {TEXTOID, INT8OID};
	Datum		values[] = {CStringGetTextDatum(p->name),
	Int64GetDatum(p->incident)};

	p->answer.result = "busy";
	nbusy++;
	og_query_run(&plan, 2, types, values, NULL);
}

/* Moves an order as its table's owner. */
static void
move(OgPolicy *p)
{
	OgWatch    *watch = og_watch_find(p->watch);
	ErrorData  *error;

	if (watch == NULL)
	{
		og_policy_answer(p, "refused", "the table is not watched any more");
		return;
	}
	switch (og_owner_call(watch, MOVE_LIMIT, request_action, p, &error))
	{
		case OG_OWNER_DONE:
			if (p->dry_run)
				record(p);
			break;
		case OG_OWNER_BUSY:
			put_off(p);
			break;
		default:
			og_policy_answer(p, "failed", error ? og_action_error(error) :
							 "the table was dropped");
			break;
	}
}

/* What people can do, too. */
static void
do_request(OgPolicy *p)
{
	p->request.to = p->to;
	p->request.dry_run = p->dry_run;
	if (strcmp(p->action, "move") == 0)
	{
		move(p);
		return;
	}
	og_action_act(p->incident, &p->request, &p->answer);
	if (p->dry_run && strcmp(p->answer.result, "busy") != 0)
		record(p);
}

static bool
is_about_session(const OgPolicy *p)
{
	return strcmp(p->action, "cancel_query") == 0 ||
		strcmp(p->action, "doom") == 0 ||
		strcmp(p->action, "terminate") == 0;
}

/*
 * What becomes of the incident, as far as this policy is concerned.  A
 * session that is still there after it was signalled is tried again.
 */
static const char *
next_state(const OgPolicy *p, const char *result)
{
	if (p->dry_run)
		return "would_do";
	if (strcmp(result, "queued") == 0)
		return "queued";
	if (strcmp(result, "moved_on") == 0)
		return "ended";
	if (strcmp(result, "done") == 0)
		return is_about_session(p) ? "again" : "ended";
	/* It has no query now; if it runs one later, that is not this one. */
	if (p->objection && strcmp(p->action, "cancel_query") == 0)
		return "ended";
	return "again";
}

/*
 * og_policy_note
 *		Counts what came of a try, or (fresh is false) of one that was queued.
 */
void
og_policy_note(const OgPolicy *p, bool fresh)
{
	static OgPlan plan = {
		"SELECT order_guard._note_policy($1, $2, $3, $4, $5, $6, $7)", NULL
	};
	static const Oid types[] = {TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID,
	INT8OID, BOOLOID};
	const OgAnswer *a = &p->answer;
	char		nulls[] = "       ";
	Datum		values[] = {CStringGetTextDatum(p->name),
		Int64GetDatum(p->incident), CStringGetTextDatum(a->result),
		a->detail ? CStringGetTextDatum(a->detail) : (Datum) 0,
		CStringGetTextDatum(next_state(p, a->result)),
	Int64GetDatum(a->id), BoolGetDatum(fresh)};

	nulls[3] = a->detail ? ' ' : 'n';
	og_query_run(&plan, 7, types, values, nulls);
}

/*
 * Rungs of a ladder that are due at the same time, since the worker was away:
 * a session is given the time in between.
 */
static bool
was_signalled(int n)
{
	for (int i = 0; i < n; i++)
		if (work[i].incident == work[n].incident && work[i].signalled)
			return true;
	return false;
}

static void
act(OgPolicy *p)
{
	if (p->objection)
		og_policy_answer(p, "refused", p->objection);
	else if (strcmp(p->action, "notify") == 0)
		do_notify(p);
	else if (strcmp(p->action, "escalate") == 0)
		do_escalate(p);
	else
		do_request(p);
	if (strcmp(p->answer.result, "busy") != 0)
		og_policy_note(p, true);
}

/*
 * A try that runs code of somebody else's is counted before it is made: that
 * code may be the end of this process, and again after each restart.
 */
static bool
begin_try(const OgPolicy *p)
{
	static OgPlan plan = {"SELECT order_guard._begin_try($1, $2)", NULL};
	static const Oid types[] = {TEXTOID, INT8OID};
	Datum		values[] = {CStringGetTextDatum(p->name),
	Int64GetDatum(p->incident)};

	og_query_run(&plan, 2, types, values, NULL);
	return DatumGetBool(og_query_datum(0, 0));
}

/*
 * og_policy_act
 *		See policy.h.
 */
bool
og_policy_act(int n)
{
	OgPolicy	p = {0};

	if (!open_policy(&work[n], &p))
		return false;
	if (work[n].over)
	{
		og_policy_suspend(&p);
		return false;
	}
	if ((is_about_session(&p) && was_signalled(n)) || !open_incident(&p))
		return false;
	if (work[n].careful)
	{
		work[n].careful = false;
		return nbusy < MAX_BUSY && GetCurrentTimestamp() < enough &&
			begin_try(&p);
	}
	act(&p);
	work[n].signalled = is_about_session(&p) &&
		(strcmp(p.answer.result, "queued") == 0 ||
		 strcmp(p.answer.result, "done") == 0);
	return false;
}

/*
 * og_policy_failed
 *		See policy.h.
 */
void
og_policy_failed(int n, ErrorData *error)
{
	OgPolicy	p = {0};

	if (!open_policy(&work[n], &p) || work[n].over)
		return;
	og_policy_answer(&p, "failed", og_action_error(error));
	og_policy_note(&p, true);
}
