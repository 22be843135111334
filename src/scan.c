/*
 * scan.c
 *		What SQL sees of the worker: scan(), stat_worker.
 *
 * Runs in any backend.  scan() asks the worker of this database for a tick and
 * waits for it; what it reports and every change it causes are the worker's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "journal.h"
#include "slot.h"

#define LONGEST_S		(30 * 86400.0)	/* no scan waits longer */
#define STAT_COLUMNS	15

PG_FUNCTION_INFO_V1(og_worker_scan);
PG_FUNCTION_INFO_V1(og_worker_stat);
PG_FUNCTION_INFO_V1(og_launcher_require);

/* The counters that a scan reports the growth of. */
typedef struct Totals
{
	int64		drained;
	int64		opened;
	int64		cleared;
} Totals;

/* What a waiting scan saw of the slot. */
typedef struct Sight
{
	Oid			database;
	OgSlotState state;
	bool		starved;
	uint64		completed;
	Totals		totals;
	int			sqlstate;
	char		error[OG_SLOT_ERROR];
} Sight;

/* Throws unless the library was preloaded. */
void
og_slot_require(void)
{
	if (og_slots == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("order_guard is not loaded by the server"),
				 errhint("Add order_guard to shared_preload_libraries and "
						 "restart the server.")));
}

/* order_guard._require_preload(): called first by CREATE EXTENSION. */
Datum
og_launcher_require(PG_FUNCTION_ARGS)
{
	og_slot_require();
	PG_RETURN_VOID();
}

/* The time until which to wait; throws if the interval makes no sense. */
static TimestampTz
parse_timeout(FunctionCallInfo fcinfo)
{
	Interval   *timeout;
	double		seconds;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("timeout must not be null")));
	timeout = PG_GETARG_INTERVAL_P(0);
	seconds = timeout->time / 1000000.0 + timeout->day * 86400.0 +
		timeout->month * (30 * 86400.0);
	if (seconds < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must not be negative")));
	return GetCurrentTimestamp() +
		(TimestampTz) (Min(seconds, LONGEST_S) * 1000000.0);
}

/* Throws where a scan could not do what its caller expects. */
static void
check_scan(void)
{
	og_slot_require();
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("scan() cannot run during recovery"),
				 errhint("Run it on the primary server.")));
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("scan() cannot see this transaction's own work"),
				 errhint("COMMIT first.")));
}

/* Copies what matters of a slot; takes its lock. */
static void
look_at(OgSlot *slot, Sight *sight)
{
	LWLockAcquire(og_slots->lock, LW_SHARED);
	sight->database = slot->database;
	sight->state = slot->state;
	sight->starved = og_slots->starved;
	sight->completed = slot->completed;
	sight->totals.drained = slot->drained;
	sight->totals.opened = slot->opened;
	sight->totals.cleared = slot->cleared;
	sight->sqlstate = slot->last_sqlstate;
	strlcpy(sight->error, slot->last_error, sizeof(sight->error));
	LWLockRelease(og_slots->lock);
}

static OgSlot *
claim(void)
{
	OgSlot	   *slot;

	LWLockAcquire(og_slots->lock, LW_EXCLUSIVE);
	slot = og_slot_claim(MyDatabaseId);
	LWLockRelease(og_slots->lock);
	if (slot == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("order_guard cannot serve more than %d databases",
						OG_SLOTS)));
	return slot;
}

/* Why a scan was not served in time. */
static const char *
explain_delay(Sight *sight)
{
	switch (sight->state)
	{
		case OG_SLOT_RUNNING:
		case OG_SLOT_FAILING:
			return "The worker of this database is busy.";
		case OG_SLOT_STARTING:
			return "The worker of this database is starting.";
		default:
			if (sight->starved)
				return "No background worker slot is free.";
			return "No worker is running in this database.";
	}
}

static void
report_timeout(Sight *sight)
{
	bool		starved = sight->starved &&
		sight->state == OG_SLOT_WANTED;

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("scan() was not served within its timeout"),
			 errdetail_internal("%s", explain_delay(sight)),
			 starved ? errhint("Increase max_worker_processes.") :
			 errhint("See order_guard.stat_worker and the server log, or "
					 "give a longer timeout.")));
}

/*
 * Waits for a tick that began after the request of this number, and leaves in
 * *sight what the slot looked like then.  Asks again should the slot have
 * become another's, or the worker's look have missed the extension.
 */
static void
wait_for_tick(OgSlot *slot, uint64 number, TimestampTz until, Sight *sight)
{
	ConditionVariablePrepareToSleep(&slot->changed);
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		long		left;

		CHECK_FOR_INTERRUPTS();
		look_at(slot, sight);
		if (sight->database != MyDatabaseId)
			break;
		if (sight->completed >= number)
		{
			if (sight->state == OG_SLOT_RUNNING ||
				sight->state == OG_SLOT_FAILING)
				break;
			number = og_slot_request(slot);
		}
		if (now >= until)
			report_timeout(sight);
		left = TimestampDifferenceMilliseconds(now, until);
		(void) ConditionVariableTimedSleep(&slot->changed,
										   Min(left, 1000) + 1,
										   PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

static Datum
make_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values,
											 nulls));
}

/*
 * order_guard.scan(): a whole tick, begun after the call and committed when it
 * returns.  Counts everything the worker did since the call, also in a tick
 * that was already under way.
 */
static Datum
scan_once(FunctionCallInfo fcinfo)
{
	TimestampTz until = parse_timeout(fcinfo);
	Datum		values[3];
	bool		nulls[3] = {0};
	OgSlot	   *slot;
	Sight		before;
	Sight		after;

	check_scan();
	do
	{
		slot = claim();
		look_at(slot, &before);
		wait_for_tick(slot, og_slot_request(slot), until, &after);
	} while (after.database != MyDatabaseId);
	if (after.state == OG_SLOT_FAILING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the worker's tick failed"),
				 errdetail_internal("%s: %s",
									unpack_sql_state(after.sqlstate),
									after.error),
				 errhint("The server log has more.")));
	values[0] = Int64GetDatum(after.totals.drained - before.totals.drained);
	values[1] = Int32GetDatum((int32) (after.totals.opened -
									   before.totals.opened));
	values[2] = Int32GetDatum((int32) (after.totals.cleared -
									   before.totals.cleared));
	return make_row(fcinfo, values, nulls);
}

Datum
og_worker_scan(PG_FUNCTION_ARGS)
{
	FuncCallContext *context;

	if (SRF_IS_FIRSTCALL())
		SRF_FIRSTCALL_INIT();
	context = SRF_PERCALL_SETUP();
	if (context->call_cntr == 0)
		SRF_RETURN_NEXT(context, scan_once(fcinfo));
	SRF_RETURN_DONE(context);
}

/* A slot's state in a word that people understand. */
static const char *
describe_state(OgSlot *slot)
{
	switch (slot->state)
	{
		case OG_SLOT_RUNNING:
			return "running";
		case OG_SLOT_FAILING:
			return "failing";
		case OG_SLOT_STARTING:
			return "starting";
		case OG_SLOT_WANTED:
			if (pg_atomic_read_u32(&slot->holds) > 0)
				return "held";
			if (og_slots->starved)
				return "no worker slot";
			return "waiting";
		default:
			return "absent";
	}
}

/* The slot's part of the row of stat_worker. */
static void
fill_from_slot(OgSlot *slot, Datum *values, bool *nulls)
{
	values[0] = CStringGetTextDatum(describe_state(slot));
	values[1] = Int32GetDatum(slot->pid);
	nulls[1] = slot->pid == 0;
	values[2] = TimestampTzGetDatum(slot->last_tick);
	values[3] = Float8GetDatum(slot->tick_us / 1000.0);
	nulls[2] = nulls[3] = slot->last_tick == 0;
	values[4] = Int64GetDatum(slot->ticks);
	values[5] = Int64GetDatum(slot->drained);
	values[6] = Int64GetDatum(slot->tracked);
	values[7] = Int64GetDatum(Max(slot->starts - 1, 0));
	values[8] = Int64GetDatum(slot->errors);
	values[9] = CStringGetTextDatum(slot->last_error);
	values[10] = TimestampTzGetDatum(slot->last_error_at);
	nulls[9] = nulls[10] = slot->last_error_at == 0;
}

/* The journal's part. */
static void
fill_from_journal(Datum *values, bool *nulls)
{
	uint32		segments;
	uint32		used;

	if (!og_journal_ready())
	{
		nulls[11] = nulls[12] = nulls[13] = nulls[14] = true;
		return;
	}
	og_journal_usage(&segments, &used);
	values[11] = Int32GetDatum((int32) segments);
	values[12] = Int32GetDatum((int32) used);
	values[13] = Int64GetDatum((int64) og_journal_dropped(MyDatabaseId));
	values[14] = Int64GetDatum((int64) og_journal_corrupt());
}

/* order_guard._stat_worker(): one row about this database's worker. */
Datum
og_worker_stat(PG_FUNCTION_ARGS)
{
	Datum		values[STAT_COLUMNS] = {0};
	bool		nulls[STAT_COLUMNS] = {0};
	OgSlot		copy = {0};
	OgSlot	   *slot;

	og_slot_require();
	LWLockAcquire(og_slots->lock, LW_SHARED);
	slot = og_slot_find(MyDatabaseId);
	if (slot != NULL)
		memcpy(&copy, slot, sizeof(copy));
	LWLockRelease(og_slots->lock);
	fill_from_slot(&copy, values, nulls);
	fill_from_journal(values, nulls);
	return make_row(fcinfo, values, nulls);
}
