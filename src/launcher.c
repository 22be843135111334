/*
 * launcher.c
 *		Sees to it that each database with the extension has a worker.
 *
 * Runs in a background worker of its own, registered while the library is
 * preloaded, started once recovery is over (so a standby has none), connected
 * to the shared catalogs only: it is in nobody's way.  The postmaster starts
 * it again should it fail.
 *
 * It is level-triggered.  In each round it compares pg_database with the table
 * of slots (slot.c) and does the next thing that brings them together; latches
 * only make a round come sooner.  Which databases have the extension cannot be
 * seen from outside, so it has a worker look; one that finds nothing says so
 * and ends.  Workers are started one at a time.
 *
 * Locks: og_slots->lock, for moments, and never together with another one.
 * After a crash the slots are empty and every database is looked at again.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "doom.h"
#include "journal.h"
#include "launcher.h"
#include "slot.h"

#define RESTART_S		5		/* of the launcher itself */
#define ROUND_MS		5000	/* longest time between two rounds */
#define START_MS		10000	/* a start that takes longer holds up nobody */
#define STARVED_MIN_MS	1000
#define STARVED_MAX_MS	60000

/* What pg_database says in this round; in the round's memory context. */
typedef struct Databases
{
	List	   *all;
	List	   *open;			/* those that allow connections */
} Databases;

/* What the launcher remembers from round to round. */
static struct
{
	MemoryContext round;		/* reset before each round */
	MemoryContext memory;		/* of the list below */
	List	   *absent;			/* databases known to lack the extension */
	bool		missed[OG_SLOTS];	/* not in pg_database the last time */
	bool		looked_again[OG_SLOTS]; /* ABSENT, but has a journal */
	bool		full_logged;

	OgSlot	   *starting;		/* the start under way, or NULL */
	Oid			starting_database;
	BackgroundWorkerHandle *handle;
	TimestampTz started_at;

	int			running;		/* workers at the last round */
	int64		starved_ms;		/* last back-off; 0: there are slots */
	TimestampTz start_after;
}			self;

/* In _PG_init, while libraries are preloaded. */
void
og_launcher_register(void)
{
	BackgroundWorker launcher = {0};

	if (IsBinaryUpgrade)
		return;
	launcher.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	launcher.bgw_start_time = BgWorkerStart_RecoveryFinished;
	launcher.bgw_restart_time = RESTART_S;
	snprintf(launcher.bgw_name, BGW_MAXLEN, "order_guard launcher");
	snprintf(launcher.bgw_type, BGW_MAXLEN, "order_guard launcher");
	snprintf(launcher.bgw_library_name, BGW_MAXLEN, "order_guard");
	snprintf(launcher.bgw_function_name, BGW_MAXLEN, "og_launcher_main");
	RegisterBackgroundWorker(&launcher);
}

static void
detach(int code, Datum arg)
{
	og_slots->launcher = NULL;
}

/*
 * Takes over from a launcher that failed.  Its workers go on; what it was
 * about to start is tried again (a worker that comes late and finds another
 * one there leaves).
 */
static void
attach(void)
{
	before_shmem_exit(detach, (Datum) 0);
	LWLockAcquire(og_slots->lock, LW_EXCLUSIVE);
	og_slots->launcher = MyProc;
	og_slots->starved = false;
	for (int i = 0; i < OG_SLOTS; i++)
	{
		OgSlot	   *slot = &og_slots->slot[i];

		if (slot->state == OG_SLOT_STARTING && slot->pid == 0)
			slot->state = OG_SLOT_WANTED;
	}
	LWLockRelease(og_slots->lock);
}

/* Lists pg_database in the round's memory context. */
static void
read_databases(Databases *databases)
{
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;

	memset(databases, 0, sizeof(*databases));
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext before = MemoryContextSwitchTo(self.round);

		databases->all = lappend_oid(databases->all, form->oid);
		if (form->datallowconn && !database_is_invalid_form(form))
			databases->open = lappend_oid(databases->open, form->oid);
		MemoryContextSwitchTo(before);
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(self.round);
}

/*
 * Remembers which databases lack the extension, even those whose slot somebody
 * else needed.
 */
static void
remember_absent(Databases *databases)
{
	List	   *absent = NIL;
	ListCell   *cell;

	LWLockAcquire(og_slots->lock, LW_SHARED);
	foreach(cell, databases->all)
	{
		OgSlot	   *slot = og_slot_find(lfirst_oid(cell));

		if (slot != NULL ? slot->state == OG_SLOT_ABSENT :
			list_member_oid(self.absent, lfirst_oid(cell)))
			absent = lappend_oid(absent, lfirst_oid(cell));
	}
	LWLockRelease(og_slots->lock);

	MemoryContextReset(self.memory);
	MemoryContextSwitchTo(self.memory);
	self.absent = list_copy(absent);
	MemoryContextSwitchTo(self.round);
}

/* Does every slot have a worker?  Lock held. */
static bool
all_served(void)
{
	for (int i = 0; i < OG_SLOTS; i++)
		if (og_slots->slot[i].pid == 0)
			return false;
	return true;
}

/*
 * Gives each new database a slot.  Those that get none now, because others are
 * still being looked at, get one in a later round.
 */
static void
claim_slots(Databases *databases)
{
	ListCell   *cell;
	bool		refused = false;

	LWLockAcquire(og_slots->lock, LW_EXCLUSIVE);
	foreach(cell, databases->open)
		if (!list_member_oid(self.absent, lfirst_oid(cell)) &&
			og_slot_claim(lfirst_oid(cell)) == NULL)
			refused = true;
	refused = refused && all_served();
	LWLockRelease(og_slots->lock);

	if (refused && !self.full_logged)
	{
		og_slot_warn_full();
		self.full_logged = true;
	}
}

/*
 * Brings one slot up to date.  Lock held exclusively.  A database has to be
 * missing from pg_database twice: it may be newer than our snapshot.
 */
static void
review(OgSlot *slot, int number, Databases *databases)
{
	bool		missing = !list_member_oid(databases->all, slot->database);

	if (slot->state == OG_SLOT_FREE)
		missing = false;
	else if (missing && self.missed[number] && slot->pid == 0 &&
			 slot->state != OG_SLOT_STARTING &&
			 pg_atomic_read_u32(&slot->holds) == 0 &&
			 pg_atomic_read_u32(&slot->pins) == 0)
	{
		og_slot_free(slot);
		missing = false;
	}
	else if (slot->state == OG_SLOT_ABSENT && og_slot_owed(slot))
	{
		slot->state = OG_SLOT_WANTED;
		slot->failures = 0;
		slot->retry_at = 0;
	}
	self.missed[number] = missing;
	if (slot->state == OG_SLOT_FREE)
		self.looked_again[number] = false;
}

static void
review_slots(Databases *databases)
{
	int			running = 0;

	LWLockAcquire(og_slots->lock, LW_EXCLUSIVE);
	for (int i = 0; i < OG_SLOTS; i++)
	{
		review(&og_slots->slot[i], i, databases);
		if (og_slots->slot[i].pid != 0)
			running++;
	}
	LWLockRelease(og_slots->lock);

	/* One of ours has ended, so there is room again. */
	if (running < self.running)
		self.start_after = 0;
	self.running = running;
}

/*
 * May the journal of a database that lacks the extension be thrown away?
 * Only after a second look that began when the journal was there already, and
 * while no transaction is about to create the extension.  Not if it has lost
 * its slot to another database: then looking again would never end.
 */
static bool
is_orphan(Oid database, Databases *databases)
{
	OgSlot	   *slot;
	bool		orphan = false;

	if (!list_member_oid(databases->all, database))
		return true;
	LWLockAcquire(og_slots->lock, LW_EXCLUSIVE);
	slot = og_slot_find(database);
	if (slot != NULL && slot->state == OG_SLOT_ABSENT)
	{
		bool	   *looked = &self.looked_again[slot - og_slots->slot];

		orphan = *looked && !og_slot_owed(slot) &&
			pg_atomic_read_u32(&slot->pins) == 0;
		if (!*looked)
			slot->state = OG_SLOT_WANTED;
		*looked = true;
	}
	LWLockRelease(og_slots->lock);
	return orphan;
}

/*
 * Frees the journal of databases that have no reader.  The list was made
 * before pg_database was read, so that a database in the one and not in the
 * other is gone rather than new.
 */
static void
free_journals(List *with_journal, Databases *databases)
{
	ListCell   *cell;

	for (int i = 0; i < OG_SLOTS; i++)
		if (self.looked_again[i] &&
			!list_member_oid(with_journal, og_slots->slot[i].database))
			self.looked_again[i] = false;
	foreach(cell, with_journal)
	{
		if (!is_orphan(lfirst_oid(cell), databases))
			continue;
		(void) og_journal_free_database(lfirst_oid(cell));
		og_doom_free_database(lfirst_oid(cell));
	}
}

/*
 * Follows the start under way.  It is over when the worker has settled down or
 * the postmaster has done away with it (then its place is free for the next);
 * a worker that has to wait for a lock on its database is left alone.
 */
static void
follow_start(void)
{
	OgSlot	   *slot = self.starting;
	BgwHandleStatus status;
	pid_t		pid;
	bool		over;

	if (slot == NULL)
		return;
	status = GetBackgroundWorkerPid(self.handle, &pid);
	LWLockAcquire(og_slots->lock, LW_EXCLUSIVE);
	over = status == BGWH_STOPPED ||
		slot->state == OG_SLOT_RUNNING || slot->state == OG_SLOT_FAILING ||
		(status == BGWH_STARTED &&
		 TimestampDifferenceExceeds(self.started_at, GetCurrentTimestamp(),
									START_MS));
	if (status == BGWH_STOPPED && slot->database == self.starting_database &&
		slot->state == OG_SLOT_STARTING && slot->pid == 0)
		og_slot_back_off(slot);
	LWLockRelease(og_slots->lock);
	if (over)
	{
		pfree(self.handle);
		self.handle = NULL;
		self.starting = NULL;
	}
}

/* The database that has waited longest for a worker; marks it as STARTING. */
static OgSlot *
choose(Databases *databases)
{
	OgSlot	   *best = NULL;
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(og_slots->lock, LW_EXCLUSIVE);
	for (int i = 0; i < OG_SLOTS; i++)
	{
		OgSlot	   *slot = &og_slots->slot[i];

		if (slot->state == OG_SLOT_WANTED && slot->pid == 0 &&
			slot->retry_at <= now &&
			pg_atomic_read_u32(&slot->holds) == 0 &&
			(best == NULL || slot->retry_at < best->retry_at) &&
			list_member_oid(databases->open, slot->database))
			best = slot;
	}
	if (best != NULL)
	{
		best->state = OG_SLOT_STARTING;
		self.starting_database = best->database;
	}
	LWLockRelease(og_slots->lock);
	return best;
}

/* Registers a worker; false if the server has no room for one. */
static bool
register_worker(Oid database)
{
	BackgroundWorker worker = {0};
	MemoryContext before;
	bool		done;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	snprintf(worker.bgw_name, BGW_MAXLEN, "order_guard worker");
	snprintf(worker.bgw_type, BGW_MAXLEN, "order_guard worker");
	snprintf(worker.bgw_library_name, BGW_MAXLEN, "order_guard");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "og_worker_main");

	before = MemoryContextSwitchTo(TopMemoryContext);
	done = RegisterDynamicBackgroundWorker(&worker, &self.handle);
	MemoryContextSwitchTo(before);
	return done;
}

/*
 * No background worker is free: tries again later.  Says so once, and not the
 * first time, as the postmaster may just not have buried one of ours yet.
 */
static void
starve(void)
{
	if (self.starved_ms != 0 && !og_slots->starved)
	{
		og_slots->starved = true;
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("order_guard found no free background worker slot"),
				 errdetail("At least one database is not watched; "
						   "this is tried again until a slot is free."),
				 errhint("Increase max_worker_processes.")));
	}
	self.starved_ms = self.starved_ms == 0 ? STARVED_MIN_MS :
		Min(self.starved_ms * 2, STARVED_MAX_MS);
	self.start_after = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												   self.starved_ms);
}

/* Nobody waits for a background worker any more. */
static void
end_starvation(void)
{
	if (og_slots->starved)
		ereport(LOG,
				(errmsg("order_guard found enough background worker slots")));
	og_slots->starved = false;
	self.starved_ms = 0;
}

/* Starts the next worker, if one is due and none is starting. */
static void
start_next(Databases *databases)
{
	OgSlot	   *slot;

	if (self.starting != NULL || self.start_after > GetCurrentTimestamp())
		return;
	slot = choose(databases);
	if (slot == NULL)
		end_starvation();
	else if (register_worker(self.starting_database))
	{
		self.starting = slot;
		self.started_at = GetCurrentTimestamp();
		self.starved_ms = 0;
	}
	else
	{
		LWLockAcquire(og_slots->lock, LW_EXCLUSIVE);
		slot->state = OG_SLOT_WANTED;
		LWLockRelease(og_slots->lock);
		starve();
	}
}

/* One round; returns how long to sleep at most, in milliseconds. */
static long
run_round(void)
{
	Databases	databases;
	List	   *with_journal;
	TimestampTz now;
	TimestampTz next;

	MemoryContextReset(self.round);
	MemoryContextSwitchTo(self.round);
	with_journal = og_journal_databases();
	read_databases(&databases);
	remember_absent(&databases);
	claim_slots(&databases);
	review_slots(&databases);
	free_journals(with_journal, &databases);
	follow_start();
	start_next(&databases);

	now = GetCurrentTimestamp();
	next = TimestampTzPlusMilliseconds(now, ROUND_MS);
	if (self.start_after > now)
		next = Min(next, self.start_after);
	LWLockAcquire(og_slots->lock, LW_SHARED);
	for (int i = 0; i < OG_SLOTS; i++)
		if (og_slots->slot[i].state == OG_SLOT_WANTED &&
			og_slots->slot[i].retry_at > now)
			next = Min(next, og_slots->slot[i].retry_at);
	LWLockRelease(og_slots->lock);
	return TimestampDifferenceMilliseconds(now, next) + 1;
}

/* Signals while nothing is under way.  Exit code 1 means: start me again. */
static void
handle_signals(void)
{
	if (ProcDiePending)
		proc_exit(1);
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

void
og_launcher_main(Datum arg)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	/* At once: the server may be stopped again before anything else. */
	if (og_journal_ready())
		og_journal_store_fence();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	memset(&self, 0, sizeof(self));
	self.round = AllocSetContextCreate(TopMemoryContext, "order_guard round",
									   ALLOCSET_DEFAULT_SIZES);
	self.memory = AllocSetContextCreate(TopMemoryContext,
										"order_guard databases",
										ALLOCSET_SMALL_SIZES);
	attach();
	pgstat_report_appname("order_guard launcher");
	pgstat_report_activity(STATE_IDLE, NULL);

	for (;;)
	{
		long		timeout;

		handle_signals();
		timeout = run_round();
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 timeout, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}
