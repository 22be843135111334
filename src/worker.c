/*
 * worker.c
 *		The process that serves one database: its life, not its work.
 *
 * A background worker that the launcher starts.  It attaches to its database's
 * slot before it connects, so that a statement that needs the database to
 * itself (hold.c) can keep it out, and detaches after it has left the list of
 * processes, so that such a statement finds the database empty.
 *
 * Then, again and again: look whether the extension is still there (if not,
 * leave for good) and of this library's version, tick (tick.c), sleep.  An
 * ERROR never ends it: the transaction is aborted, the error is shown in
 * stat_worker and logged once, and the tick is tried again after a while.
 * While it sleeps it holds no transaction, no snapshot and no lock, and
 * answers signals and barriers at once.
 *
 * Locks: og_slots->lock, for moments.  After a crash nothing is left of it;
 * the next worker starts from what is in tables and journal.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "mb/pg_wchar.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "action.h"
#include "compat.h"
#include "doom.h"
#include "journal.h"
#include "settings.h"
#include "settle.h"
#include "slot.h"
#include "tick.h"
#include "trust.h"
#include "worker.h"

#ifndef OG_VERSION
#error "the build defines OG_VERSION as default_version of the control file"
#endif

#define STEADY_MS		60000	/* a worker that lived so long is healthy */
#define BACK_OFF_MS		30000	/* longest pause after failed ticks */
#define MAX_DEATHS		3		/* workers that may die in their first tick */
#define DEATH_PAUSE_MS	60000	/* pause before the next, doubled each time */
#define DEATH_DOUBLINGS 6

static OgSlot *slot = NULL;
static bool started = false;	/* og_tick_start() has been called */
static int	failures = 0;		/* ticks in a row */
static uint32 deaths = 0;		/* of workers before this one */
static bool survived = false;	/* a tick */
static MemoryContext tick_context;

/* Text and SQLSTATE of the last error that was logged. */
static char logged[OG_SLOT_ERROR];
static int	logged_sqlstate;

/*
 * The last thing before the process gives up its PGPROC.  A worker that lived
 * for a while, or was told to make room, is replaced at once.
 */
static void
detach(int code, Datum arg)
{
	LWLockReleaseAll();
	/* Told to end, it did not die; whoever told it wants another one. */
	if (pg_atomic_read_u32(&slot->holds) == 0)
		deaths = 0;
	og_journal_set_deaths(slot->database, deaths);
	LWLockAcquire(og_slots->lock, LW_EXCLUSIVE);
	if (TimestampDifferenceExceeds(slot->attached_at, GetCurrentTimestamp(),
								   STEADY_MS))
		slot->failures = 0;
	slot->pid = 0;
	slot->proc = NULL;
	if (pg_atomic_read_u32(&slot->holds) > 0)
	{
		slot->state = OG_SLOT_WANTED;
		slot->retry_at = 0;
	}
	else if (slot->state != OG_SLOT_ABSENT)
		og_slot_back_off(slot);
	LWLockRelease(og_slots->lock);
	ConditionVariableBroadcast(&slot->changed);
	og_slot_wake_launcher();
}

/*
 * Takes the slot, or leaves at once if the database is wanted by somebody else
 * or has a worker already.
 */
static void
attach(Oid database)
{
	OgSlot	   *mine;

	LWLockAcquire(og_slots->lock, LW_EXCLUSIVE);
	mine = og_slot_find(database);
	if (mine != NULL && mine->state == OG_SLOT_STARTING && mine->pid == 0)
	{
		if (pg_atomic_read_u32(&mine->holds) == 0)
			slot = mine;
		else
		{
			mine->state = OG_SLOT_WANTED;
			mine->retry_at = 0;
		}
	}
	if (slot != NULL)
	{
		on_shmem_exit(detach, (Datum) 0);
		slot->pid = MyProcPid;
		slot->proc = MyProc;
		slot->attached_at = GetCurrentTimestamp();
		slot->starts++;
	}
	LWLockRelease(og_slots->lock);
	og_slot_wake_launcher();
	if (slot == NULL)
		proc_exit(0);
}

/*
 * Settings that the database, the role or the server may have set to something
 * our statements do not expect.  Some are not known to every version.
 */
static void
pin_settings(void)
{
	static const char *const pinned[][2] = {
		{"application_name", "order_guard worker"},
		{"search_path", "pg_catalog, pg_temp"},
		{"synchronous_commit", "local"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"session_replication_role", "origin"},
		{"exit_on_error", "off"},
		{"statement_timeout", "0"},
		{"lock_timeout", "500ms"},
		/* The worker gives way, not whom it meets. */
		{"deadlock_timeout", "100ms"},
		{"transaction_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"idle_session_timeout", "0"},
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"bytea_output", "hex"},
		{"extra_float_digits", "1"},
		{"xmloption", "content"},
		{"quote_all_identifiers", "off"},
		{"standard_conforming_strings", "on"},
		{"row_security", "off"},
		{"zero_damaged_pages", "off"},
		{"jit", "off"},
		{"max_parallel_workers_per_gather", "0"}
	};

	for (int i = 0; i < lengthof(pinned); i++)
		if (GetConfigOption(pinned[i][0], true, false) != NULL)
			SetConfigOption(pinned[i][0], pinned[i][1], PGC_SUSET,
							PGC_S_OVERRIDE);
}

/* The extension's version in this database, palloc'd, or NULL. */
static char *
read_version(void)
{
	Relation	relation = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum(OG_EXTENSION));
	scan = systable_beginscan(relation, ExtensionNameIndexId, true, NULL, 1,
							  &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		datum = heap_getattr(tuple, Anum_pg_extension_extversion,
										 RelationGetDescr(relation), &isnull);

		version = isnull ? pstrdup("") : TextDatumGetCString(datum);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return version;
}

/*
 * Is the extension there?  Throws if it is not the one this library is for.
 * In a transaction of its own.
 */
static bool
look(void)
{
	char	   *version;
	bool		here;

	StartTransactionCommand();
	version = read_version();
	here = version != NULL;
	if (here && strcmp(version, OG_VERSION) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension order_guard is version %s, but the "
						"library is version %s", version, OG_VERSION),
				 errhint("Run ALTER EXTENSION order_guard UPDATE, or restart "
						 "the server with the library of that version.")));
	CommitTransactionCommand();
	return here;
}

/* Writes down a complete tick and tells those who wait for it. */
static void
finish_tick(OgSlotState state, uint64 serving, TimestampTz start)
{
	slot->state = state;
	slot->completed = serving;
	slot->last_tick = GetCurrentTimestamp();
	slot->tick_us = slot->last_tick - start;
	slot->ticks++;
}

/* The lock is held. */
static void
add_result(const OgTickResult *result)
{
	slot->drained += result->drained;
	slot->opened += result->opened;
	slot->cleared += result->cleared;
	slot->tracked = result->tracked;
}

static void
note_success(uint64 serving, TimestampTz start, OgTickResult *result)
{
	LWLockAcquire(og_slots->lock, LW_EXCLUSIVE);
	finish_tick(OG_SLOT_RUNNING, serving, start);
	add_result(result);
	LWLockRelease(og_slots->lock);
	if (failures > 0)
		ereport(LOG, (errmsg("order_guard tick succeeds again")));
	failures = 0;
}

/* Logs an error unless it is the one that was logged last. */
static void
log_error(ErrorData *error, const char *message)
{
	if (failures > 1 && logged_sqlstate == error->sqlerrcode &&
		strncmp(logged, message, sizeof(logged) - 1) == 0)
		return;
	strlcpy(logged, message, sizeof(logged));
	logged_sqlstate = error->sqlerrcode;
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("order_guard tick failed: %s", message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 error->hint ? errhint("%s", error->hint) : 0,
			 error->context ? errcontext("%s", error->context) : 0));
}

static void
note_failure(uint64 serving, TimestampTz start, ErrorData *error)
{
	const char *message = error->message ? error->message : "";
	int			length = pg_mbcliplen(message, strlen(message),
									  OG_SLOT_ERROR - 1);

	failures++;
	log_error(error, message);
	LWLockAcquire(og_slots->lock, LW_EXCLUSIVE);
	finish_tick(OG_SLOT_FAILING, serving, start);
	slot->errors++;
	slot->last_error_at = slot->last_tick;
	slot->last_sqlstate = error->sqlerrcode;
	memcpy(slot->last_error, message, length);
	slot->last_error[length] = '\0';
	LWLockRelease(og_slots->lock);
}

/* After an ERROR: back to a state in which a transaction can begin. */
static ErrorData *
recover(void)
{
	ErrorData  *error;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(tick_context);
	error = CopyErrorData();
	FlushErrorState();
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	pgstat_report_wait_end();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(tick_context);
	QueryCancelPending = false;
	started = false;
	RESUME_INTERRUPTS();
	return error;
}

/* Next time there is as much to read anew as had to be left. */
static void
begin_drain(void)
{
	pg_atomic_write_u32(&slot->enough, Max(OG_DRAIN_SEGMENTS,
										   og_tick_left()));
	pg_atomic_write_u32(&slot->taken, 0);
	pg_atomic_exchange_u32(&slot->drain, 0);
}

/*
 * Drains the journal between two ticks; false if a tick has to be made
 * instead, also after an error, which the tick will meet again and tell.
 */
static bool
drain(void)
{
	volatile bool drained = false;
	OgTickResult result = {0};

	if (!started || failures > 0)
		return false;
	begin_drain();
	MemoryContextReset(tick_context);
	MemoryContextSwitchTo(tick_context);
	pgstat_report_activity(STATE_RUNNING, "drain");
	PG_TRY();
	{
		drained = og_tick_drain(&result);
	}
	PG_CATCH();
	{
		recover();
	}
	PG_END_TRY();
	LWLockAcquire(og_slots->lock, LW_EXCLUSIVE);
	if (drained)
		add_result(&result);
	LWLockRelease(og_slots->lock);
	pgstat_report_activity(STATE_IDLE, NULL);
	return drained;
}

/* Looks and ticks; false if the extension is gone. */
static bool
tick(void)
{
	uint64		serving = pg_atomic_read_u64(&slot->requests);
	TimestampTz start = GetCurrentTimestamp();
	ErrorData  *volatile error = NULL;
	volatile bool here = true;
	OgTickResult result = {0};

	begin_drain();
	MemoryContextReset(tick_context);
	MemoryContextSwitchTo(tick_context);
	pgstat_report_activity(STATE_RUNNING, "tick");
	PG_TRY();
	{
		here = look();
		if (here && !started)
		{
			og_tick_start();
			started = true;
		}
		MemoryContextSwitchTo(tick_context);
		if (here)
			og_tick_run(serving > slot->completed, &result);
	}
	PG_CATCH();
	{
		error = recover();
	}
	PG_END_TRY();

	if (error != NULL)
		note_failure(serving, start, error);
	else if (here)
		note_success(serving, start, &result);
	ConditionVariableBroadcast(&slot->changed);
	pgstat_report_stat(error != NULL);
	pgstat_report_activity(STATE_IDLE, NULL);
	return here;
}

/*
 * The extension is not here (any more).  Whoever asked for a look after ours
 * began has the launcher send another worker.
 */
static void
leave(uint64 serving)
{
	og_doom_free_database(slot->database);
	LWLockAcquire(og_slots->lock, LW_EXCLUSIVE);
	slot->state = OG_SLOT_ABSENT;
	slot->completed = serving;
	slot->failures = 0;
	slot->starts = 0;
	LWLockRelease(og_slots->lock);
	proc_exit(0);
}

/* Signals, while nothing is under way.  Returns whether settings changed. */
static bool
handle_signals(void)
{
	if (ProcDiePending)
		proc_exit(0);
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	return true;
}

/* Waits, answering signals. */
static void
pause_for(long ms)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
	TimestampTz now;

	while ((now = GetCurrentTimestamp()) < until)
	{
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 TimestampDifferenceMilliseconds(now, until) + 1,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		handle_signals();
	}
}

/*
 * The server has to stop at once, perhaps because another process crashed:
 * this worker does not die of what it has read.
 */
static void
quit(SIGNAL_ARGS)
{
	og_journal_reset_deaths(MyDatabaseId, deaths);
	SignalHandlerForCrashExit(postgres_signal_arg);
}

static void
set_journal_aside(Oid database)
{
	uint32		dropped;
	int			segments = og_journal_set_aside(database, &dropped);

	ereport(WARNING,
			(errmsg("order_guard set aside %d segments of the journal of "
					"database %u", segments, database),
			 errdetail("%u workers in a row have died in their first tick.",
					   deaths),
			 errhint("What they held is in a file beside the journal. "
					 "The guarded tables are swept.")));
	og_tick_journal_lost(dropped);
	/* If this one is stopped, that is not to happen again. */
	deaths = 0;
}

/*
 * A worker that takes the server down with it would do so again and again, as
 * each one finds what the last one found.  After some that did not live
 * through a tick the journal of the database is set aside, and if that does
 * not help there are pauses.
 */
static void
survey_deaths(Oid database)
{
	long		pause;

	deaths = og_journal_deaths(database);
	if (deaths > MAX_DEATHS)
	{
		pause = (long) DEATH_PAUSE_MS << Min(deaths - MAX_DEATHS - 1,
											 DEATH_DOUBLINGS);
		ereport(WARNING,
				(errmsg("order_guard worker of database %u waits for %ld s",
						database, pause / 1000),
				 errdetail("%u workers in a row have died in their first "
						   "tick.", deaths)));
		pause_for(pause);
	}
	pqsignal(SIGQUIT, quit);
	og_journal_set_deaths(database, deaths + 1);
	if (deaths == MAX_DEATHS)
		set_journal_aside(database);
}

/* A tick is over. */
static void
survive(void)
{
	deaths = 0;
	if (!survived)
		og_journal_set_deaths(slot->database, 0);
	survived = true;
}

/*
 * Sleeps until the next tick is due or somebody asks for one, and drains
 * meanwhile when there is much to read.
 */
static void
nap(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz until;
	long		pause = og_naptime;

	if (failures > 0)
		pause = Max(pause, Min(1000L << Min(failures - 1, 5), BACK_OFF_MS));
	until = TimestampTzPlusMilliseconds(now, pause);
	for (;;)
	{
		long		settle = og_settle_serve();
		long		rest = TimestampDifferenceMilliseconds(now, until) + 1;

		og_action_serve();
		if (now >= until || og_slot_owed(slot))
			break;
		if (failures == 0 && pg_atomic_read_u32(&slot->drain) != 0)
		{
			if (!drain())
				break;
			CHECK_FOR_INTERRUPTS();
			now = GetCurrentTimestamp();
			continue;
		}
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 settle < 0 ? rest : Min(rest, settle),
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		if (handle_signals())
			break;
		now = GetCurrentTimestamp();
	}
}

void
og_worker_main(Datum database)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	attach(DatumGetObjectId(database));
	BackgroundWorkerUnblockSignals();
	pin_settings();
	og_trust_worker();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database),
											  InvalidOid, 0);
	pgstat_report_appname("order_guard worker");
	tick_context = AllocSetContextCreate(TopMemoryContext, "order_guard tick",
										 ALLOCSET_DEFAULT_SIZES);
	survey_deaths(slot->database);
	for (;;)
	{
		uint64		serving = pg_atomic_read_u64(&slot->requests);

		handle_signals();
		if (!tick())
			leave(serving);
		survive();
		nap();
	}
}
