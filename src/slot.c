/*
 * slot.c
 *		The table of databases, in PostgreSQL's shared memory.
 *
 * Run by every process.  One LWLock guards it; it is taken for moments, never
 * together with another lock, and never on the path of an order.  Latches of
 * launcher and workers are set through PGPROC pointers that are read without
 * the lock: the memory they point to lives as long as the server, so that a
 * stale one wakes somebody for nothing, no more.
 *
 * Everything here is a hint about the state of the databases.  After a crash
 * it starts empty, and the launcher finds out again.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "launcher.h"
#include "slot.h"

#define TRANCHE			"order_guard slots"
#define RETRY_FIRST_MS	1000
#define RETRY_LAST_MS	60000

OgSlots    *og_slots = NULL;

/* In shmem_request_hook. */
void
og_launcher_request_shmem(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(OgSlots)));
	RequestNamedLWLockTranche(TRANCHE, 1);
}

/* In shmem_startup_hook; also after a crash, with fresh memory. */
void
og_launcher_init_shmem(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	og_slots = ShmemInitStruct("order_guard slots", sizeof(OgSlots), &found);
	if (!found)
	{
		memset(og_slots, 0, sizeof(OgSlots));
		og_slots->lock = &GetNamedLWLockTranche(TRANCHE)->lock;
		for (int i = 0; i < OG_SLOTS; i++)
		{
			OgSlot	   *slot = &og_slots->slot[i];

			pg_atomic_init_u32(&slot->holds, 0);
			pg_atomic_init_u32(&slot->pins, 0);
			pg_atomic_init_u64(&slot->requests, 0);
			pg_atomic_init_u32(&slot->taken, 0);
			pg_atomic_init_u32(&slot->enough, OG_DRAIN_SEGMENTS);
			pg_atomic_init_u32(&slot->drain, 0);
			ConditionVariableInit(&slot->changed);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * og_slot_find
 *		The slot of a database, or NULL.  Without the lock the answer may be
 *		outdated; the slot it points to is always one.
 */
OgSlot *
og_slot_find(Oid database)
{
	if (og_slots == NULL || !OidIsValid(database))
		return NULL;
	for (int i = 0; i < OG_SLOTS; i++)
		if (og_slots->slot[i].database == database)
			return &og_slots->slot[i];
	return NULL;
}

/* May this slot be used for another database?  Lock held. */
static bool
can_evict(OgSlot *slot)
{
	return slot->state == OG_SLOT_ABSENT && slot->pid == 0 &&
		pg_atomic_read_u32(&slot->holds) == 0 &&
		pg_atomic_read_u32(&slot->pins) == 0 &&
		!og_slot_owed(slot);
}

/*
 * og_slot_claim
 *		The slot of a database, a new one if it has none, in which case a
 *		worker is to look there.  NULL if all are in use.  Lock held
 *		exclusively.
 */
OgSlot *
og_slot_claim(Oid database)
{
	OgSlot	   *slot = og_slot_find(database);
	OgSlot	   *idle = NULL;

	if (slot != NULL)
		return slot;
	for (int i = 0; i < OG_SLOTS; i++)
	{
		OgSlot	   *candidate = &og_slots->slot[i];

		if (candidate->state == OG_SLOT_FREE)
		{
			idle = candidate;
			break;
		}
		if (idle == NULL && can_evict(candidate))
			idle = candidate;
	}
	if (idle == NULL)
		return NULL;
	og_slot_free(idle);
	idle->database = database;
	idle->state = OG_SLOT_WANTED;
	return idle;
}

/*
 * og_slot_free
 *		Forgets a database.  Lock held exclusively, no worker, no hold, no
 *		pin.  requests only ever grows, so that nobody who waits for a number
 *		of the former owner is taken for served before his time.
 */
void
og_slot_free(OgSlot *slot)
{
	Assert(slot->pid == 0);
	slot->database = InvalidOid;
	slot->state = OG_SLOT_FREE;
	slot->failures = 0;
	slot->retry_at = 0;
	slot->completed = pg_atomic_read_u64(&slot->requests);
	slot->starts = slot->ticks = slot->errors = 0;
	slot->drained = slot->opened = slot->cleared = slot->tracked = 0;
	slot->tick_us = 0;
	slot->attached_at = slot->last_tick = slot->last_error_at = 0;
	slot->last_sqlstate = 0;
	slot->last_error[0] = '\0';
}

/*
 * og_slot_request
 *		Asks for a tick and returns its number.  Takes no lock, cannot fail.
 */
uint64
og_slot_request(OgSlot *slot)
{
	uint64		number = pg_atomic_add_fetch_u64(&slot->requests, 1);
	PGPROC	   *proc = *((PGPROC *volatile *) &slot->proc);

	if (proc != NULL)
		SetLatch(&proc->procLatch);
	else
		og_slot_wake_launcher();
	return number;
}

/* Has somebody asked for a tick that has not been made? */
bool
og_slot_owed(OgSlot *slot)
{
	return pg_atomic_read_u64(&slot->requests) != slot->completed;
}

/*
 * og_slot_back_off
 *		Nobody serves the database now; tries again later, and each time
 *		after a longer while.  Lock held exclusively.
 */
void
og_slot_back_off(OgSlot *slot)
{
	int64		delay = RETRY_FIRST_MS;

	slot->state = OG_SLOT_WANTED;
	delay <<= Min(slot->failures, 6);
	slot->failures++;
	slot->retry_at =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
									Min(delay, RETRY_LAST_MS));
}

void
og_slot_warn_full(void)
{
	ereport(WARNING,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("order_guard cannot serve more than %d databases",
					OG_SLOTS),
			 errdetail("At least one database is not watched.")));
}

void
og_slot_wake_launcher(void)
{
	PGPROC	   *proc;

	if (og_slots == NULL)
		return;
	proc = *((PGPROC *volatile *) &og_slots->launcher);
	if (proc != NULL)
		SetLatch(&proc->procLatch);
}

/* See launcher.h. */
void
og_launcher_note_work(Oid database, bool urgent)
{
	OgSlot	   *slot = og_slot_find(database);
	uint32		taken;
	PGPROC	   *proc;

	if (slot == NULL)
		return;
	taken = pg_atomic_add_fetch_u32(&slot->taken, 1);
	if (!urgent && taken < pg_atomic_read_u32(&slot->enough))
		return;
	proc = *((PGPROC *volatile *) &slot->proc);
	if (proc == NULL)
		og_slot_wake_launcher();
	else if (pg_atomic_exchange_u32(&slot->drain, 1) == 0)
		SetLatch(&proc->procLatch);
}

/* See launcher.h. */
void
og_launcher_poke(Oid database)
{
	OgSlot	   *slot;

	if (og_slots == NULL || !OidIsValid(database))
		return;
	LWLockAcquire(og_slots->lock, LW_EXCLUSIVE);
	slot = og_slot_claim(database);
	LWLockRelease(og_slots->lock);
	if (slot != NULL)
		og_slot_request(slot);
}

/* See slot.h. */
void
og_slot_wake_worker(void)
{
	OgSlot	   *slot = og_slot_find(MyDatabaseId);
	PGPROC	   *proc = slot ? *((PGPROC *volatile *) &slot->proc) : NULL;

	if (proc != NULL)
		SetLatch(&proc->procLatch);
	else
		og_launcher_poke(MyDatabaseId);
}

/* See slot.h. */
void
og_slot_refuse_worker(void)
{
	OgSlot	   *slot;
	bool		is_worker;

	LWLockAcquire(og_slots->lock, LW_SHARED);
	slot = og_slot_find(MyDatabaseId);
	is_worker = slot != NULL && slot->pid == MyProcPid;
	LWLockRelease(og_slots->lock);
	if (is_worker)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the worker of order_guard cannot be asked from "
						"within itself"),
				 errhint("Handlers, and triggers of orders that a policy "
						 "moves, run in it.")));
}
