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
 * A table's owner's code (triggers, types) runs as that owner: og_owner_call().
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "action_private.h"
#include "detect.h"
#include "incident_private.h"
#include "open.h"
#include "owner.h"
#include "policy.h"
#include "query.h"
#include "reason.h"
#include "settings.h"

#define MOVE_LIMIT	10000		/* ms */
#define MAX_BUSY	5			/* locked rows in a tick, 100 ms each */
#define TICK_BUDGET	1000		/* ms; no move begins after that */

/* A piece of work; in the memory of the tick. */
typedef struct Work
{
	char	   *policy;
	int64		incident;
	bool		over;			/* past the budget: stop the policy */
	bool		careful;		/* count the try first */
	bool		signalled;		/* the session has been dealt with */
} Work;

/* A policy and the incident that it acts on. */
typedef struct Policy
{
	const char *name;
	char	   *action;
	Jsonb	   *args;
	bool		dry_run;
	Oid			role;			/* its owner */
	Oid			relation;		/* or InvalidOid */
	char	   *to;				/* of args, or NULL */
	char	   *severity;
	int64		incident;
	int			watch;
	char	   *is_severity;	/* the incident's */
	char	   *objection;		/* why it must not be done, or NULL */
	OgRequest	request;
	OgAnswer	answer;
} Policy;

static Work *work;
static int	nwork;
static int	nbusy;				/* in this tick */
static TimestampTz enough;		/* of owners' code in this tick */

/*
 * og_policy_plan
 *		See policy.h.
 */
int
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

	nwork = nbusy = 0;
	enough = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), TICK_BUDGET);
	og_query_run(&any, 0, NULL, NULL, NULL);
	if (SPI_processed == 0)
		return 0;
	og_query_run(&plan, 1, types, values, NULL);
	work = palloc(Max(SPI_processed, 1) * sizeof(Work));
	for (nwork = 0; nwork < SPI_processed; nwork++)
	{
		work[nwork].policy = og_query_text(nwork, 0);
		work[nwork].incident = DatumGetInt64(og_query_datum(nwork, 1));
		work[nwork].over = DatumGetBool(og_query_datum(nwork, 2));
		work[nwork].careful = DatumGetBool(og_query_datum(nwork, 3));
		work[nwork].signalled = false;
	}
	return nwork;
}

/* How the policy shows in the audit. */
static void
introduce(Policy *p)
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
open_policy(const Work *piece, Policy *p)
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
	introduce(p);
	return true;
}

/*
 * Locks the incident and looks at it again; false if somebody has it, or
 * there is nothing to do any more.
 */
static bool
open_incident(Policy *p)
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
static void
tell(int64 incident, const char *event)
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
static void
raise_severity(int64 incident, const char *severity)
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
record(Policy *p)
{
	OgCase		c = {.id = p->incident};
	OgActionRow row;

	p->request.note = p->dry_run ? "dry run" : NULL;
	og_action_row(&c, &p->request, &p->answer, &row);
	p->answer.id = og_action_insert(&row);
}

static void
answer(Policy *p, const char *result, char *detail)
{
	p->answer.result = result;
	p->answer.detail = detail;
	record(p);
}

/* An error in words, without values: everybody who sees the table reads it. */
static char *
error_text(const ErrorData *error)
{
	OgError		e = {.cause = OG_CAUSE_ERROR};

	e.sqlstate = error->sqlerrcode;
	if (error->message_id)
		strlcpy(e.message, error->message_id, sizeof(e.message));
	if (error->constraint_name)
		strlcpy(e.constraint, error->constraint_name, sizeof(e.constraint));
	return psprintf("%s (SQLSTATE %s)", og_reason_text(&e),
					unpack_sql_state(error->sqlerrcode));
}

static void
do_notify(Policy *p)
{
	if (p->dry_run)
	{
		answer(p, "would_do", "would notify");
		return;
	}
	tell(p->incident, "notified");
	answer(p, "done", "notified");
}

static void
do_escalate(Policy *p)
{
	char	   *detail = psprintf("%s severity from %s to %s", p->dry_run ?
								  "would raise" : "raised", p->is_severity,
								  p->severity);

	if (!p->dry_run)
	{
		raise_severity(p->incident, p->severity);
		tell(p->incident, "escalated");
	}
	p->answer.lock = "row of the incident";
	og_proof_find(&p->answer, "severity", p->is_severity);
	answer(p, p->dry_run ? "would_do" : "done", detail);
}

/* What is done in the name of the owner of the table. */
static void
request_action(void *arg)
{
	Policy	   *p = arg;

	og_action_act(p->incident, &p->request, &p->answer);
}

/*
 * Somebody holds the order, or its table.  That is no try, but others come
 * first now.
 */
static void
put_off(Policy *p)
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
move(Policy *p)
{
	OgWatch    *watch = og_watch_find(p->watch);
	ErrorData  *error;

	if (watch == NULL)
	{
		answer(p, "refused", "the table is not watched any more");
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
			answer(p, "failed", error ? error_text(error) :
				   "the table was dropped");
			break;
	}
}

/* What people can do, too. */
static void
do_request(Policy *p)
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
is_about_session(const Policy *p)
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
next_state(const Policy *p, const char *result)
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

/* Counts what came of a try, or (fresh is false) of one that was queued. */
static void
note(const Policy *p, bool fresh)
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

/* The identity of the incident about a policy that was stopped. */
static void
policy_hash(unsigned char *hash, const char *name)
{
	og_detect_hash(hash, psprintf("policy %s", name), 0);
}

/*
 * Stops a policy that has more to do than it may.  It goes on when somebody
 * has looked at it and says so.
 */
static void
suspend(Policy *p)
{
	static OgPlan plan = {
		"UPDATE order_guard.policy_state SET suspended_at = "
		"clock_timestamp(), suspended_why = $2, last_detail = $2 "
		"WHERE policy = $1", NULL
	};
	static const Oid types[] = {TEXTOID, TEXTOID};
	OgIncident	incident = {.kind = "policy"};
	char	   *why = psprintf("it had more to do than %d in a minute",
							   og_policy_budget);
	Datum		values[] = {CStringGetTextDatum(p->name),
	CStringGetTextDatum(why)};
	const char *names[] = {"policy", "action", "budget", "hint"};
	const char *texts[] = {p->name, p->action,
		psprintf("%d", og_policy_budget),
		"See order_guard.policies. order_guard.alter_policy() with "
	"enabled => true lets it go on."};

	og_query_run(&plan, 2, types, values, NULL);
	incident.relation = p->relation;
	policy_hash(incident.hash, p->name);
	incident.severity = p->dry_run ? "warning" : "critical";
	incident.since = GetCurrentTimestamp();
	incident.summary = psprintf("policy \"%s\"%s was stopped: %s (%s)",
								p->name, p->dry_run ? ", a dry run," : "",
								why, p->action);
	incident.evidence = og_detect_json(names, texts, lengthof(names));
	og_incident_open(&incident);
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
act(Policy *p)
{
	if (p->objection)
		answer(p, "refused", p->objection);
	else if (strcmp(p->action, "notify") == 0)
		do_notify(p);
	else if (strcmp(p->action, "escalate") == 0)
		do_escalate(p);
	else
		do_request(p);
	if (strcmp(p->answer.result, "busy") != 0)
		note(p, true);
}

/*
 * A try that runs code of somebody else's is counted before it is made: that
 * code may be the end of this process, and again after each restart.
 */
static bool
begin_try(const Policy *p)
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
	Policy		p = {0};

	if (!open_policy(&work[n], &p))
		return false;
	if (work[n].over)
	{
		suspend(&p);
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
	Policy		p = {0};

	if (!open_policy(&work[n], &p) || work[n].over)
		return;
	answer(&p, "failed", error_text(error));
	note(&p, true);
}

/* Notes what came of what was queued. */
static void
collect_queued(void)
{
	static OgPlan plan = {
		"SELECT p.name, t.incident, p.action, a.id, a.result, a.detail, "
		"p.args FROM order_guard.policy_try t "
		"JOIN order_guard.action a ON a.id = t.action "
		"JOIN order_guard.policy p ON p.name = t.policy "
		"WHERE t.state = 'queued' AND a.result <> 'queued' ORDER BY a.id "
		"FOR NO KEY UPDATE OF p SKIP LOCKED", NULL
	};
	SPITupleTable *ended;
	int			n;

	og_query_run(&plan, 0, NULL, NULL, NULL);
	ended = SPI_tuptable;
	n = (int) SPI_processed;
	for (int i = 0; i < n; i++)
	{
		Policy		p = {0};

		SPI_tuptable = ended;
		p.name = og_query_text(i, 0);
		p.incident = DatumGetInt64(og_query_datum(i, 1));
		p.action = og_query_text(i, 2);
		p.answer.id = DatumGetInt64(og_query_datum(i, 3));
		p.answer.result = og_query_text(i, 4);
		p.answer.detail = og_query_text(i, 5);
		p.args = DatumGetJsonbPCopy(og_query_datum(i, 6));
		note(&p, false);
	}
}

/* All tries were used up: the incident is for a person now. */
static void
give_up(Policy *p, int tries)
{
	static OgPlan plan = {
		"UPDATE order_guard.policy_try SET state = 'ended' "
		"WHERE policy = $1 AND incident = $2", NULL
	};
	static const Oid types[] = {TEXTOID, INT8OID};
	Datum		values[] = {CStringGetTextDatum(p->name),
	Int64GetDatum(p->incident)};

	og_query_run(&plan, 2, types, values, NULL);
	raise_severity(p->incident, "critical");
	tell(p->incident, "escalated");
	answer(p, "refused", psprintf("tried %d times, and not again: a person "
								  "has to look at it", tries));
}

static void
collect_spent(void)
{
	static OgPlan plan = {
		"SELECT p.name, t.incident, p.action, t.tries, p.args "
		"FROM order_guard.policy_try t "
		"JOIN order_guard.policy p ON p.name = t.policy "
		"JOIN order_guard.incident i ON i.id = t.incident "
		"WHERE t.state = 'spent' AND i.state = 'open' "
		"FOR NO KEY UPDATE OF p, i SKIP LOCKED", NULL
	};
	SPITupleTable *spent;
	int			n;

	og_query_run(&plan, 0, NULL, NULL, NULL);
	spent = SPI_tuptable;
	n = (int) SPI_processed;
	for (int i = 0; i < n; i++)
	{
		Policy		p = {0};

		SPI_tuptable = spent;
		p.name = og_query_text(i, 0);
		p.incident = DatumGetInt64(og_query_datum(i, 1));
		p.action = og_query_text(i, 2);
		p.args = DatumGetJsonbPCopy(og_query_datum(i, 4));
		introduce(&p);
		give_up(&p, DatumGetInt32(og_query_datum(i, 3)));
	}
}

/* Clears incidents about policies at which somebody has looked. */
static void
clear_resumed(void)
{
	static OgPlan plan = {
		"SELECT p.name FROM order_guard.policy p "
		"JOIN order_guard.policy_state s ON s.policy = p.name "
		"WHERE s.suspended_at IS NOT NULL", NULL
	};
	unsigned char (*hash)[16];
	int			n;

	if (!og_open_has_kind("policy"))
		return;
	og_query_run(&plan, 0, NULL, NULL, NULL);
	n = (int) SPI_processed;
	hash = palloc((n + 1) * 16);
	for (int i = 0; i < n; i++)
		policy_hash(hash[i], og_query_text(i, 0));
	og_open_clear_others("policy", hash, n,
						 "the policy was enabled again, set anew or dropped");
}

/* Forgets tries at incidents that are closed. */
static void
forget_closed(void)
{
	static OgPlan plan = {
		"DELETE FROM order_guard.policy_try WHERE ctid = ANY (ARRAY(SELECT "
		"t.ctid FROM order_guard.policy_try t WHERE t.state <> 'queued' "
		"AND NOT EXISTS (SELECT FROM order_guard.incident i "
		"WHERE i.id = t.incident AND i.state = 'open') LIMIT 1000 "
		"FOR UPDATE SKIP LOCKED))", NULL
	};

	og_query_run(&plan, 0, NULL, NULL, NULL);
}

/*
 * og_policy_collect
 *		See policy.h.
 */
void
og_policy_collect(void)
{
	collect_queued();
	collect_spent();
	clear_resumed();
	forget_closed();
}
