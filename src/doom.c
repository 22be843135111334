/*
 * doom.c
 *		Open transactions that are to fail at their own COMMIT.
 *
 * The worker dooms, on behalf of an action; the backend that runs the
 * transaction looks whether it is meant when it commits or prepares, and
 * raises an error if so.  Nobody is signalled.  While nobody is doomed that
 * look is one load of a word that nobody writes.
 *
 * The last look is at PRE_COMMIT and PRE_PREPARE, where an error still is an
 * error.  Whoever is past it when he is doomed commits: that is no error
 * either, because what came of a doom is told only when the transaction has
 * ended, by the backend's own mark (struck) or its absence.
 *
 * Whom it hits is told by pid and virtual transaction id, so the backend's
 * next transaction is never meant.  Shared memory, and so this, ends with all
 * transactions that it may be about.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "doom.h"
#include "errors.h"

#define TRANCHE		"order_guard doom"

OgDooms    *og_dooms = NULL;

void
og_doom_request_shmem(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(OgDooms)));
	RequestNamedLWLockTranche(TRANCHE, 1);
}

void
og_doom_init_shmem(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	og_dooms = ShmemInitStruct(TRANCHE, sizeof(OgDooms), &found);
	if (!found)
	{
		memset(og_dooms, 0, sizeof(OgDooms));
		og_dooms->lock = &GetNamedLWLockTranche(TRANCHE)->lock;
		pg_atomic_init_u32(&og_dooms->count, 0);
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * Without the lock, for which all who commit would wait on each other.  One
 * that is added at this moment comes too late.
 */
static bool
may_be_meant(void)
{
	for (int i = 0; i < OG_DOOMS; i++)
		if (((volatile OgDoom *) &og_dooms->doom[i])->pid == MyProcPid)
			return true;
	return false;
}

/*
 * og_doom_strike
 *		Throws if the current transaction is doomed.
 */
void
og_doom_strike(void)
{
	VirtualTransactionId mine;
	int64		action = 0;

	if (!may_be_meant())
		return;
	GET_VXID_FROM_PGPROC(mine, *MyProc);
	LWLockAcquire(og_dooms->lock, LW_EXCLUSIVE);
	for (int i = 0; i < OG_DOOMS && action == 0; i++)
	{
		OgDoom	   *doom = &og_dooms->doom[i];

		if (doom->action == 0 || doom->pid != MyProcPid ||
			!VirtualTransactionIdEquals(doom->vxid, mine))
			continue;
		doom->struck = true;
		action = doom->action;
	}
	LWLockRelease(og_dooms->lock);
	if (action != 0)
		ereport(ERROR,
				(errcode(OG_ERRCODE_DOOMED),
				 errmsg("this transaction was doomed while it was open"),
				 errdetail("It held orders for too long; see action %lld in "
						   "order_guard.actions.", (long long) action),
				 errhint("Nothing of it was kept. Do it again, if it is still "
						 "wanted.")));
}

/*
 * og_doom_add
 *		Dooms a transaction; false if there is no room.
 */
bool
og_doom_add(int64 action, int pid, VirtualTransactionId vxid)
{
	bool		added = false;

	LWLockAcquire(og_dooms->lock, LW_EXCLUSIVE);
	for (int i = 0; i < OG_DOOMS && !added; i++)
	{
		OgDoom	   *doom = &og_dooms->doom[i];

		if (doom->action != 0)
			continue;
		doom->action = action;
		doom->database = MyDatabaseId;
		doom->pid = pid;
		doom->vxid = vxid;
		doom->struck = false;
		pg_atomic_fetch_add_u32(&og_dooms->count, 1);
		added = true;
	}
	LWLockRelease(og_dooms->lock);
	return added;
}

/* The doom of an action, copied; false if there is none. */
bool
og_doom_find(int64 action, OgDoom *copy)
{
	bool		found = false;

	LWLockAcquire(og_dooms->lock, LW_SHARED);
	for (int i = 0; i < OG_DOOMS && !found; i++)
		if (og_dooms->doom[i].action == action &&
			og_dooms->doom[i].database == MyDatabaseId)
		{
			*copy = og_dooms->doom[i];
			found = true;
		}
	LWLockRelease(og_dooms->lock);
	return found;
}

static void
free_doom(OgDoom *doom)
{
	doom->action = 0;
	pg_atomic_fetch_sub_u32(&og_dooms->count, 1);
}

/* Frees the doom of an action, if it is one. */
void
og_doom_forget(int64 action)
{
	if (pg_atomic_read_u32(&og_dooms->count) == 0)
		return;
	LWLockAcquire(og_dooms->lock, LW_EXCLUSIVE);
	for (int i = 0; i < OG_DOOMS; i++)
		if (og_dooms->doom[i].action == action &&
			og_dooms->doom[i].database == MyDatabaseId)
			free_doom(&og_dooms->doom[i]);
	LWLockRelease(og_dooms->lock);
}

static bool
is_among(int64 action, const int64 *actions, int n)
{
	for (int i = 0; i < n; i++)
		if (actions[i] == action)
			return true;
	return false;
}

/*
 * og_doom_keep
 *		Frees this database's dooms but those of these actions.
 */
void
og_doom_keep(const int64 *actions, int n)
{
	if (pg_atomic_read_u32(&og_dooms->count) == 0)
		return;
	LWLockAcquire(og_dooms->lock, LW_EXCLUSIVE);
	for (int i = 0; i < OG_DOOMS; i++)
	{
		OgDoom	   *doom = &og_dooms->doom[i];

		if (doom->action == 0 || doom->database != MyDatabaseId)
			continue;
		if (!is_among(doom->action, actions, n))
			free_doom(doom);
	}
	LWLockRelease(og_dooms->lock);
}

/*
 * og_doom_free_database
 *		Frees all dooms of a database that has no worker any more.
 */
void
og_doom_free_database(Oid database)
{
	if (pg_atomic_read_u32(&og_dooms->count) == 0)
		return;
	LWLockAcquire(og_dooms->lock, LW_EXCLUSIVE);
	for (int i = 0; i < OG_DOOMS; i++)
		if (og_dooms->doom[i].action != 0 &&
			og_dooms->doom[i].database == database)
			free_doom(&og_dooms->doom[i]);
	LWLockRelease(og_dooms->lock);
}
