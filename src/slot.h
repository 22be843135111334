/*
 * slot.h
 *		What launcher, workers and backends share about each database.
 */
#ifndef OG_SLOT_H
#define OG_SLOT_H

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/proc.h"

#define OG_EXTENSION	"order_guard"
#define OG_SLOTS		128
#define OG_SLOT_ERROR	256

typedef enum OgSlotState
{
	OG_SLOT_FREE = 0,			/* no database */
	OG_SLOT_WANTED,				/* no worker: one is to look or to serve */
	OG_SLOT_STARTING,			/* worker registered, has not looked yet */
	OG_SLOT_RUNNING,			/* worker serves, its last tick was good */
	OG_SLOT_FAILING,			/* worker serves, its last tick failed */
	OG_SLOT_ABSENT				/* no worker, as there is no extension */
} OgSlotState;

/*
 * One database.  Unless said otherwise a field is read and written under
 * og_slots->lock.
 */
typedef struct OgSlot
{
	/* Set by whoever claims the slot, cleared by launcher or claimer. */
	Oid			database;
	OgSlotState state;

	/* Written by the worker as it attaches and detaches. */
	int			pid;			/* 0: no worker */
	PGPROC	   *proc;			/* read without lock to set its latch */

	/* Launcher, and the worker as it detaches. */
	int			failures;		/* starts in a row that came to nothing */
	TimestampTz retry_at;		/* WANTED: not before */

	/*
	 * Atomic.  holds: transactions that need the worker gone; it keeps a
	 * worker from starting.  pins: transactions that created the extension
	 * and are still open; it keeps the slot and the journal.
	 */
	pg_atomic_uint32 holds;
	pg_atomic_uint32 pins;

	/*
	 * requests (atomic, anybody): raised to have the worker look and tick.
	 * completed (worker): the value of requests when the last complete tick
	 * began.  While they differ a tick, or a look, is owed.
	 */
	pg_atomic_uint64 requests;
	uint64		completed;
	ConditionVariable changed;	/* pid, state or completed changed */

	/*
	 * Atomic.  taken: segments of the journal begun since the last drain, by
	 * backends.  enough: so many of them are worth one; written by the
	 * worker.  drain: set to have it drain, cleared by the worker before it
	 * reads.
	 */
	pg_atomic_uint32 taken;
	pg_atomic_uint32 enough;
	pg_atomic_uint32 drain;

	/* Statistics since the server started; written by the worker. */
	int64		starts;
	int64		ticks;
	int64		errors;
	int64		drained;
	int64		opened;
	int64		cleared;
	int64		tracked;
	int64		tick_us;		/* length of the last tick */
	TimestampTz attached_at;
	TimestampTz last_tick;		/* its end; 0: none yet */
	TimestampTz last_error_at;
	int			last_sqlstate;
	char		last_error[OG_SLOT_ERROR];
} OgSlot;

/*
 * Segments that are drained at a time, at the least: little enough to stay in
 * a processor's cache, and to be done before anybody else misses the core.
 */
#define OG_DRAIN_SEGMENTS 32

typedef struct OgSlots
{
	LWLock	   *lock;
	PGPROC	   *launcher;		/* read without lock to set its latch */
	bool		starved;		/* launcher, without lock: no place is free */
	OgSlot		slot[OG_SLOTS];
} OgSlots;

/* NULL: the library was not preloaded */
extern OgSlots *og_slots;

extern OgSlot *og_slot_find(Oid database);
extern OgSlot *og_slot_claim(Oid database);
extern void og_slot_free(OgSlot *slot);
extern uint64 og_slot_request(OgSlot *slot);
extern bool og_slot_owed(OgSlot *slot);
extern void og_slot_back_off(OgSlot *slot);
extern void og_slot_wake_launcher(void);
/* of this database, without having it make a tick */
extern void og_slot_wake_worker(void);
extern void og_slot_warn_full(void);
extern void og_slot_require(void);
/* throws in the worker itself, which would wait for itself */
extern void og_slot_refuse_worker(void);

#endif							/* OG_SLOT_H */
