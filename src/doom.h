/*
 * doom.h
 *		Open transactions that are to fail at their own COMMIT.
 */
#ifndef OG_DOOM_H
#define OG_DOOM_H

#include "port/atomics.h"
#include "storage/lock.h"
#include "storage/lwlock.h"

#define OG_DOOMS	64

/*
 * One transaction: pid and virtual transaction id are never both used again
 * while the server runs.  All under og_dooms->lock; pid is read without, too.
 */
typedef struct OgDoom
{
	int64		action;			/* its number; 0: free */
	Oid			database;
	int			pid;
	VirtualTransactionId vxid;
	bool		struck;			/* by the backend: it has failed */
} OgDoom;

typedef struct OgDooms
{
	LWLock	   *lock;
	pg_atomic_uint32 count;		/* of those not free; read without lock */
	OgDoom		doom[OG_DOOMS];
} OgDooms;

/* NULL: the library was not preloaded */
extern OgDooms *og_dooms;

/* start of the server */
extern void og_doom_request_shmem(void);
extern void og_doom_init_shmem(void);

/* any backend, before it commits or prepares work on orders; may throw */
extern void og_doom_strike(void);

static inline void
og_doom_check(void)
{
	if (og_dooms != NULL && pg_atomic_read_u32(&og_dooms->count) != 0)
		og_doom_strike();
}

/* the worker */
extern bool og_doom_add(int64 action, int pid, VirtualTransactionId vxid);
extern bool og_doom_find(int64 action, OgDoom *copy);
extern void og_doom_forget(int64 action);
extern void og_doom_keep(const int64 *actions, int n);

/* worker, launcher: a database without the extension dooms nobody */
extern void og_doom_free_database(Oid database);

#endif							/* OG_DOOM_H */
