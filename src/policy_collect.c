/*
 * policy_collect.c
 *		What comes after policies have acted: the end of what they queued,
 *		asking a person, stopping a policy that runs wild.
 *
 * Runs in the worker, last in a tick.  Rows that people hold are skipped, and
 * looked at in the next one.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "detect.h"
#include "incident.h"
#include "open.h"
#include "policy_private.h"
#include "query.h"
#include "settings.h"

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
void
og_policy_suspend(const OgPolicy *p)
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
		OgPolicy	p = {0};

		SPI_tuptable = ended;
		p.name = og_query_text(i, 0);
		p.incident = DatumGetInt64(og_query_datum(i, 1));
		p.action = og_query_text(i, 2);
		p.answer.id = DatumGetInt64(og_query_datum(i, 3));
		p.answer.result = og_query_text(i, 4);
		p.answer.detail = og_query_text(i, 5);
		p.args = DatumGetJsonbPCopy(og_query_datum(i, 6));
		og_policy_note(&p, false);
	}
}

/* All tries were used up: the incident is for a person now. */
static void
give_up(OgPolicy *p, int tries)
{
	static OgPlan plan = {
		"UPDATE order_guard.policy_try SET state = 'ended' "
		"WHERE policy = $1 AND incident = $2", NULL
	};
	static const Oid types[] = {TEXTOID, INT8OID};
	Datum		values[] = {CStringGetTextDatum(p->name),
	Int64GetDatum(p->incident)};

	og_query_run(&plan, 2, types, values, NULL);
	og_policy_raise_severity(p->incident, "critical");
	og_policy_tell(p->incident, "escalated");
	og_policy_answer(p, "refused",
					 psprintf("tried %d times, and not again: a person has "
							  "to look at it", tries));
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
		OgPolicy	p = {0};

		SPI_tuptable = spent;
		p.name = og_query_text(i, 0);
		p.incident = DatumGetInt64(og_query_datum(i, 1));
		p.action = og_query_text(i, 2);
		p.args = DatumGetJsonbPCopy(og_query_datum(i, 4));
		og_policy_introduce(&p);
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
	static OgPlan any = {"SELECT FROM order_guard.policy_try LIMIT 1", NULL};

	clear_resumed();
	og_query_run(&any, 0, NULL, NULL, NULL);
	if (SPI_processed == 0)
		return;
	collect_queued();
	collect_spent();
	forget_closed();
}
