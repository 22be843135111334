/*
 * detect_stalled.c
 *		Orders past their deadline, and orders that are gone.
 *
 * Runs in the worker.  Looks at the row of each tracked order that is due, and
 * judges that: the tracker is only the reason to look.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "detect.h"
#include "incident.h"
#include "open.h"
#include "query.h"
#include "tracker.h"
#include "verify.h"

#define BATCH		1000
/* A step takes further batches until then. */
#define STEP		(300 * 1000)	/* microseconds */
/* How long an order that is reported waits to be looked at again. */
#define LOOK_AGAIN	(60 * USECS_PER_SEC)

static char *
make_evidence(const OgTracked *tracked, const OgPresent *present)
{
	const char *names[] = {"status", "since", "deadline", "amount",
	"customer"};
	const char *values[5] = {tracked->status};

	values[1] = pstrdup(timestamptz_to_str(tracked->since));
	values[2] = pstrdup(timestamptz_to_str(tracked->deadline));
	if (present)
	{
		values[3] = present->amount;
		values[4] = present->customer;
	}
	return og_detect_json(names, values, 5);
}

static OgIncident
make_incident(const OgWatch *watch, const OgTracked *tracked,
			  const OgPresent *present, const char *kind)
{
	OgIncident	incident = {.kind = kind,.severity = "warning",.count = 1};

	incident.watch = watch->id;
	incident.relation = watch->relation;
	incident.key = tracked->key;
	memcpy(incident.hash, tracked->id.hash, 16);
	incident.status = tracked->status[0] ? tracked->status : NULL;
	incident.amount = present ? present->amount : tracked->amount;
	incident.customer = present ? present->customer : tracked->customer;
	incident.since = tracked->since;
	incident.evidence = make_evidence(tracked, present);
	incident.may_storm = true;
	return incident;
}

static void
report_deleted(OgWatch *watch, OgTracked *tracked)
{
	OgIncident	incident;

	og_open_clear(watch->id, "stalled", tracked->id.hash, "it was deleted");
	/* A row whose status nobody knows may have been finished. */
	if (tracked->status[0] != '\0' && !tracked->uncertain)
	{
		incident = make_incident(watch, tracked, NULL, "deleted");
		incident.summary = psprintf("order %s of %s was deleted while it was "
									"%s", tracked->key, watch->name,
									tracked->status);
		og_incident_open(&incident);
	}
	og_tracker_remove(tracked);
}

static void
report_stalled(OgWatch *watch, OgTracked *tracked, const OgPresent *present,
			   TimestampTz now)
{
	OgIncident	incident;
	char	   *allowed = og_detect_age(tracked->deadline - tracked->since);

	og_tracker_set_facts(tracked, present->amount, present->customer);
	og_tracker_schedule(tracked, now + LOOK_AGAIN);
	if (tracked->backlog)
	{
		og_tracker_set_overdue(tracked, true);
		return;
	}
	tracked->overdue = true;
	incident = make_incident(watch, tracked, present, "stalled");
	incident.summary = psprintf("order %s of %s is still %s after %s (deadline "
								"%s)", tracked->key, watch->name,
								tracked->status,
								og_detect_age(now - tracked->since), allowed);
	og_incident_open(&incident);
}

/* The order is in another status than the tracker thought. */
static OgTracked *
correct_status(OgWatch *watch, OgTracked *tracked, const OgPresent *present,
			   TimestampTz now)
{
	bool		backlog = tracked->backlog && tracked->status[0] == '\0';

	og_open_clear(watch->id, "stalled", tracked->id.hash,
				  psprintf("moved on to %s",
						   present->status ? present->status : "NULL"));
	if (og_watch_deadline(watch, present->status) == NULL)
	{
		og_tracker_remove(tracked);
		return NULL;
	}
	tracked = og_tracker_put(watch, tracked->id.hash, tracked->key,
							 present->status,
							 tracked->status[0] ? now : tracked->since);
	tracked->backlog = backlog;
	return tracked;
}

static void
judge(OgWatch *watch, OgTracked *tracked, const OgPresent *present,
	  TimestampTz now)
{
	og_tracker_set_broken(tracked, present->message != NULL);
	if (present->poisoned)
	{
		og_tracker_schedule(tracked, now + LOOK_AGAIN);
		return;
	}
	if (!present->found)
	{
		report_deleted(watch, tracked);
		return;
	}
	tracked->uncertain = false;
	if (present->status == NULL ||
		strcmp(tracked->status, present->status) != 0)
	{
		tracked = correct_status(watch, tracked, present, now);
		if (tracked == NULL)
			return;
	}
	if (!og_tracker_measure(watch, tracked,
							watch->since ? present->since : 0))
	{
		og_open_clear(watch->id, "stalled", tracked->id.hash,
					  psprintf("%s has no deadline any more",
							   tracked->status));
		og_tracker_remove(tracked);
		return;
	}
	if (tracked->deadline > now)
	{
		og_open_clear(watch->id, "stalled", tracked->id.hash,
					  "it has more time now");
		og_tracker_set_overdue(tracked, false);
		og_tracker_schedule(tracked, tracked->deadline);
	}
	else
		report_stalled(watch, tracked, present, now);
}

/* What was overdue when the watch began is one incident. */
static void
report_backlog(OgWatch *watch, TimestampTz now)
{
	uint64		count = og_tracker_backlog(watch->id);
	OgIncident	incident = {.kind = "stalled",.severity = "warning"};

	og_detect_hash(incident.hash, "backlog", watch->id);
	if (count == 0)
	{
		og_open_clear(watch->id, "stalled", incident.hash,
					  "the backlog is worked off");
		return;
	}
	incident.watch = watch->id;
	incident.relation = watch->relation;
	incident.count = count;
	incident.since = now;
	incident.evidence = "{\"backlog\": true}";
	incident.summary = psprintf(UINT64_FORMAT " %s of %s that %s there before "
								"it was watched %s past %s deadline; "
								"order_guard.stalled lists them", count,
								count == 1 ? "order" : "orders", watch->name,
								count == 1 ? "was" : "were",
								count == 1 ? "is" : "are",
								count == 1 ? "its" : "their");
	og_incident_open(&incident);
}

/* Judges one batch of orders; false if that was all, or cannot be now. */
static bool
judge_batch(OgWatch *watch, TimestampTz now)
{
	List	   *due = og_tracker_due(watch->id, now, BATCH);
	List	   *keys = NIL;
	OgPresent  *present;
	ListCell   *cell;

	if (due == NIL)
		return false;
	foreach(cell, due)
		keys = lappend(keys, ((OgTracked *) lfirst(cell))->key);
	if (og_verify_keys(watch, keys, &present) != OG_OWNER_DONE)
		return false;
	foreach(cell, due)
	{
		CHECK_FOR_INTERRUPTS();
		judge(watch, lfirst(cell), &present[foreach_current_index(cell)],
			  now);
	}
	return list_length(due) == BATCH;
}

/*
 * og_detect_stalled
 *		Looks at the orders of a watch that are due.
 */
void
og_detect_stalled(OgWatch *watch)
{
	TimestampTz now = GetCurrentTimestamp();
	unsigned char storm[16];

	og_incident_storm_hash("stalled", storm);
	og_tracker_note_storm(watch->id, og_open_has(watch->id, "storm", storm));
	while (judge_batch(watch, now))
	{
		if (GetCurrentTimestamp() > now + STEP)
			break;
	}
	report_backlog(watch, now);
}

/*
 * og_detect_restore
 *		When a worker starts: every order with an incident that only its row
 *		can clear is tracked.
 */
void
og_detect_restore(void)
{
	static OgPlan plan = {
		"SELECT watch, hash, key, status, opened_at FROM order_guard.incident "
		"WHERE state = 'open' AND kind = 'stalled' AND key IS NOT NULL", NULL
	};

	og_query_run(&plan, 0, NULL, NULL, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		OgWatch    *watch = og_watch_find(DatumGetInt32(og_query_datum(row, 0)));
		uint8	   *hash = DatumGetUUIDP(og_query_datum(row, 1))->data;
		char	   *key = og_query_text(row, 2);
		char	   *status = og_query_text(row, 3);
		TimestampTz opened = DatumGetTimestampTz(og_query_datum(row, 4));
		const OgDeadline *deadline;

		if (watch == NULL || og_tracker_find(watch->id, hash) != NULL)
			continue;
		deadline = og_watch_deadline(watch, status);
		if (deadline)
			og_tracker_put(watch, hash, key, status,
						   opened - deadline->allowed);
		else
			og_tracker_examine(watch, hash, key, true);
	}
}
