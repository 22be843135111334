/*
 * tick.c
 *		What a worker does in one tick, one short transaction after another.
 *
 * First the journal is drained, with all its effects and the new position in
 * one transaction; between two ticks, too, when much comes in, so that there
 * is never much to do at a time.  Then each watch has a transaction for what
 * is due, one for what has failed, and, while it is swept, one for a piece of
 * that.  An error in one of them is noted on its watch and leaves the others
 * working.  Nothing waits: what is locked is left for the next tick.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "action.h"
#include "attempts.h"
#include "detect.h"
#include "drain.h"
#include "fault.h"
#include "handler.h"
#include "incident.h"
#include "loss.h"
#include "open.h"
#include "owner.h"
#include "policy.h"
#include "position.h"
#include "prepared.h"
#include "quarantine.h"
#include "query.h"
#include "settings.h"
#include "settle.h"
#include "tick.h"
#include "tracker.h"

#define COVERAGE_INTERVAL	(10 * USECS_PER_SEC)
#define RETENTION_INTERVAL	(60 * USECS_PER_SEC)
#define OWNER_COMMIT_MS	5000

static MemoryContext tick_memory = NULL;
static MemoryContext drain_memory = NULL;
static bool open_outdated = true;	/* incidents were opened since the load */
static int	segments_left = 0;	/* by the last drain */
static bool was_off = false;
static uint32 lost_as = 0;		/* the number of a drop; 0: nothing is lost */
static TimestampTz next_coverage = 0;
static TimestampTz next_retention = 0;

/* What the last tick knew. */
static void
forget(void)
{
	og_watches = NIL;
	MemoryContextReset(tick_memory);
}

static void
begin(void)
{
	og_query_begin();
	og_incident_begin_tick();
}

static void
finish(OgTickResult *result)
{
	int			opened;
	int			cleared;

	og_incident_flush(&opened, &cleared);
	og_query_commit();
	og_incident_announce();
	result->opened += opened;
	result->cleared += cleared;
	open_outdated |= opened > 0;
	MemoryContextSwitchTo(tick_memory);
}

static void
load_open(bool all)
{
	og_open_load(all);
	open_outdated = false;
}

/*
 * og_tick_start
 *		A worker begins, or begins again after an error: everything in memory
 *		comes from the tables.
 */
void
og_tick_start(void)
{
	OgTickResult ignored = {0};

	if (tick_memory == NULL)
	{
		tick_memory = AllocSetContextCreate(TopMemoryContext,
											"order_guard tick",
											ALLOCSET_DEFAULT_SIZES);
		drain_memory = AllocSetContextCreate(TopMemoryContext,
											 "order_guard drain",
											 ALLOCSET_DEFAULT_SIZES);
	}
	forget();
	OG_CRASH("start-crash", true);
	OG_HANG("start-hang");
	begin();
	MemoryContextSwitchTo(tick_memory);
	og_tracker_load();
	og_attempts_load();
	og_position_start();
	if (lost_as != 0)
		og_loss_note(0, "journal_lost", "journal set aside");
	og_watch_load_all();
	load_open(true);
	og_detect_restore();
	og_tracker_save();
	finish(&ignored);
	if (lost_as != 0)
		og_journal_note_swept(MyDatabaseId, lost_as);
	lost_as = 0;
	next_coverage = next_retention = 0;
}

/* See tick.h. */
void
og_tick_journal_lost(uint32 dropped)
{
	lost_as = dropped;
}

/* Watches and open incidents, as they are at the start of the tick. */
static void
load(OgTickResult *result)
{
	begin();
	MemoryContextSwitchTo(tick_memory);
	og_query_refresh_plans();
	og_watch_retry_requests();
	og_watch_load_all();
	load_open(false);
	og_open_clear_unwatched();
	finish(result);
}

/*
 * Reads the journal and begins a transaction, in this order: its beginning
 * tells whether watches have changed, and so of each one whose triggers can
 * have written what was read.
 */
static OgReading *
read_and_begin(void)
{
	OgReading  *reading;

	MemoryContextReset(drain_memory);
	MemoryContextSwitchTo(drain_memory);
	og_loss_begin_reading();
	reading = og_reader_read(MyDatabaseId);
	begin();
	return reading;
}

static void
drain(OgReading *reading, OgTickResult *result, bool careful)
{
	MemoryContextSwitchTo(drain_memory);
	result->drained += og_drain_run(reading, careful);
	og_tracker_save();
	finish(result);
	og_drain_consume(reading);
	segments_left = og_drain_left(reading);
	MemoryContextReset(drain_memory);
}

/* With what is done once a tick. */
static void
drain_all(OgTickResult *result, bool careful)
{
	OgReading  *reading = read_and_begin();

	MemoryContextSwitchTo(tick_memory);
	if (og_watches_outdated)
		og_watch_load_all();
	og_prepared_settle();
	drain(reading, result, careful);
}

/*
 * og_tick_drain
 *		See tick.h.
 */
bool
og_tick_drain(OgTickResult *result)
{
	OgReading  *reading;

	memset(result, 0, sizeof(*result));
	if (was_off || !og_enabled)
		return false;
	reading = read_and_begin();
	if (og_watches_outdated)
	{
		finish(result);
		return false;
	}
	if (open_outdated)
		load_open(false);
	drain(reading, result, false);
	result->tracked = og_tracker_count();
	return true;
}

int
og_tick_left(void)
{
	return segments_left;
}

/* If one transaction of the journal makes an error, the others go on. */
static void
try_drain(OgTickResult *result)
{
	volatile bool failed = false;

	PG_TRY();
	{
		drain_all(result, false);
	}
	PG_CATCH();
	{
		if (!og_quarantine_may_help())
			PG_RE_THROW();
		MemoryContextSwitchTo(tick_memory);
		FlushErrorState();
		AbortCurrentTransaction();
		failed = true;
	}
	PG_END_TRY();
	if (!failed)
		return;
	og_tick_start();
	drain_all(result, true);
}

/* Runs one step for one watch; an error is noted on the watch. */
static void
step(void (*detect) (OgWatch *), OgWatch *watch, OgTickResult *result)
{
	begin();
	MemoryContextSwitchTo(tick_memory);
	PG_TRY();
	{
		detect(watch);
		og_tracker_save();
		finish(result);
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(tick_memory);
		edata = CopyErrorData();
		if (edata->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
			PG_RE_THROW();
		FlushErrorState();
		AbortCurrentTransaction();
		begin();
		og_owner_note_error(watch, edata->message);
		/* Memory may be ahead of the tables. */
		og_tracker_load();
		finish(result);
	}
	PG_END_TRY();
}

static void
steps(bool whole, OgTickResult *result)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		coverage = whole || now >= next_coverage;
	ListCell   *cell;

	foreach(cell, og_watches)
	{
		OgWatch    *watch = lfirst(cell);
		bool		swept = false;

		CHECK_FOR_INTERRUPTS();
		(void) og_settle_serve();
		og_action_serve();
		/* First, so that a gap is told even if a sweep closes it at once. */
		if (coverage || watch->sweep || watch->coverage ||
			og_detect_coverage_open(watch))
			step(og_detect_coverage, watch, result);
		if (OidIsValid(watch->relation))
		{
			/* Told before it is closed: a sweep may take one step only. */
			if (watch->sweep && !og_detect_coverage_open(watch))
				step(og_detect_coverage, watch, result);
			if (watch->sweep)
			{
				step(og_sweep_step, watch, result);
				swept = watch->sweep == NULL;
			}
			step(og_detect_stalled, watch, result);
			step(og_detect_vanished, watch, result);
		}
		if (coverage && watch->handlers)
			step(og_handler_check, watch, result);
		if (swept || watch->failed)
			step(og_detect_coverage, watch, result);
		if (watch->error && watch->read && !watch->failed && !watch->busy)
			step(og_detect_recovery, watch, result);
	}
	if (coverage)
		next_coverage = now + COVERAGE_INTERVAL;
}

/*
 * One piece of the policies' work, perhaps in two transactions; an error is
 * noted and left behind.  As for handlers, a commit may run code of others.
 */
static bool
try_policy(int n, OgTickResult *result)
{
	volatile bool more = false;

	begin();
	MemoryContextSwitchTo(tick_memory);
	PG_TRY();
	{
		more = og_policy_act(n);
		og_owner_begin_limit(OWNER_COMMIT_MS);
		finish(result);
		og_owner_end_limit();
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		og_owner_end_limit();
		MemoryContextSwitchTo(tick_memory);
		edata = CopyErrorData();
		if (edata->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
			PG_RE_THROW();
		FlushErrorState();
		AbortCurrentTransaction();
		begin();
		og_policy_failed(n, edata);
		finish(result);
		more = false;
	}
	PG_END_TRY();
	return more;
}

/* What is not about one piece: an error must not stop the tick. */
static void
for_policies(void (*run) (void), OgTickResult *result)
{
	static bool failing = false;

	begin();
	MemoryContextSwitchTo(tick_memory);
	PG_TRY();
	{
		run();
		finish(result);
		failing = false;
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(tick_memory);
		edata = CopyErrorData();
		if (edata->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
			PG_RE_THROW();
		FlushErrorState();
		AbortCurrentTransaction();
		if (!failing)
			ereport(WARNING,
					(errcode(edata->sqlerrcode),
					 errmsg("order_guard's policies do not work: %s",
							edata->message)));
		failing = true;
	}
	PG_END_TRY();
}

static void
run_policies(OgTickResult *result)
{
	for_policies(og_policy_plan, result);
	for (int i = 0; og_policy_goes_on(i); i++)
	{
		CHECK_FOR_INTERRUPTS();
		(void) og_settle_serve();
		og_action_serve();
		while (try_policy(i, result))
			continue;
	}
}

/* What people and policies queued. */
static void
carry_out(OgTickResult *result)
{
	List	   *queue;

	begin();
	MemoryContextSwitchTo(tick_memory);
	queue = og_action_queued();
	finish(result);
	og_action_run(queue);
}

static void
remove_old(OgPlan *plan, int seconds)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(seconds)};

	if (seconds > 0)
		og_query_run(plan, 1, types, values, NULL);
}

/* Removes what is older than the settings say, and what has no watch. */
static void
retain(OgTickResult *result)
{
	static OgPlan attempts = {
		"DELETE FROM order_guard.attempt WHERE id IN (SELECT id "
		"FROM order_guard.attempt WHERE judge_at IS NULL AND ended_at < "
		"now() - make_interval(secs => $1) ORDER BY ended_at LIMIT 10000)",
		NULL
	};
	static OgPlan incidents = {
		"DELETE FROM order_guard.incident WHERE id IN (SELECT id "
		"FROM order_guard.incident WHERE state <> 'open' AND closed_at < "
		"now() - make_interval(secs => $1) ORDER BY closed_at LIMIT 10000 "
		"FOR UPDATE SKIP LOCKED)", NULL
	};
	static OgPlan actions = {
		"DELETE FROM order_guard.action WHERE id = ANY (ARRAY(SELECT id "
		"FROM (SELECT * FROM order_guard.action ORDER BY id LIMIT 10000) a "
		"WHERE result <> 'queued' AND at < "
		"now() - make_interval(secs => $1)))", NULL
	};
	static OgPlan tokens = {
		"DELETE FROM order_guard.token_use WHERE ctid = ANY (ARRAY(SELECT ctid "
		"FROM order_guard.token_use WHERE NOT reused AND at < now() "
		"- make_interval(secs => $1) ORDER BY at LIMIT 10000))", NULL
	};
	static OgPlan orphans = {
		"DELETE FROM order_guard.tracked t WHERE NOT EXISTS "
		"(SELECT FROM order_guard.watch w WHERE w.id = t.watch)", NULL
	};
	static OgPlan unjudged = {
		"UPDATE order_guard.attempt a SET judge_at = NULL, verdict = 'off' "
		"WHERE judge_at < now() - interval '1 min' AND NOT EXISTS "
		"(SELECT FROM order_guard.watch w JOIN pg_class c "
		"ON c.oid = w.relation WHERE w.id = a.watch)", NULL
	};
	TimestampTz now = GetCurrentTimestamp();

	if (now < next_retention)
		return;
	next_retention = now + RETENTION_INTERVAL;
	begin();
	remove_old(&attempts, og_attempt_retention);
	remove_old(&incidents, og_incident_retention);
	remove_old(&actions, og_action_retention);
	remove_old(&tokens, og_token_retention);
	og_loss_retain(og_attempt_retention);
	og_query_run(&orphans, 0, NULL, NULL, NULL);
	og_query_run(&unjudged, 0, NULL, NULL, NULL);
	finish(result);
}

/*
 * Runs one handler; that its work could not be committed is its result.  A
 * commit may run code of others still, on another server.
 */
static void
run_handler(OgTickResult *result)
{
	begin();
	MemoryContextSwitchTo(tick_memory);
	PG_TRY();
	{
		og_handler_call();
		og_owner_begin_limit(OWNER_COMMIT_MS);
		finish(result);
		og_owner_end_limit();
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		og_owner_end_limit();
		MemoryContextSwitchTo(tick_memory);
		edata = CopyErrorData();
		if (edata->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
			PG_RE_THROW();
		FlushErrorState();
		AbortCurrentTransaction();
		begin();
		og_handler_lost(edata);
		finish(result);
	}
	PG_END_TRY();
}

/* Handlers that are asked for, while there is time for them in this tick. */
static void
run_handlers(OgTickResult *result)
{
	bool		taken;

	og_handler_begin_tick();
	do
	{
		begin();
		MemoryContextSwitchTo(tick_memory);
		taken = og_handler_take();
		finish(result);
		if (taken)
			run_handler(result);
		(void) og_settle_serve();
		og_action_serve();
	} while (taken);
}

/*
 * After a time without capture everything has to be read anew.  That is noted
 * at once, since the server may be started again before it is switched on.
 */
static bool
notice_switch(OgTickResult *result)
{
	if (was_off == og_enabled)
	{
		begin();
		og_loss_note(0, "disabled", "order_guard.enabled was off");
		finish(result);
		was_off = !og_enabled;
	}
	return og_enabled;
}

/*
 * og_tick_run
 *		See tick.h.
 */
void
og_tick_run(bool whole, OgTickResult *result)
{
	memset(result, 0, sizeof(*result));
	forget();
	MemoryContextSwitchTo(tick_memory);
	if (!notice_switch(result))
		return;
	load(result);
	try_drain(result);
	steps(whole, result);
	begin();
	MemoryContextSwitchTo(tick_memory);
	og_detect_uncommitted();
	og_detect_duplicates();
	og_detect_prepared();
	finish(result);
	run_policies(result);
	carry_out(result);
	run_handlers(result);
	for_policies(og_policy_collect, result);
	retain(result);
	result->tracked = og_tracker_count();
	pgstat_report_stat(true);
}
