/*
 * durable.c
 *		Will a commit that one sees still be there after a crash?
 *
 * Runs in whoever asks for an outcome.  A commit can be seen before it is on
 * disk (synchronous_commit = off); that is seen to here.  It can also be seen
 * before a synchronous standby has it: after a wait that was cancelled, with
 * synchronous_commit = local, or after a crash in mid-wait.  Then it is lost
 * if that standby takes over.
 *
 * Neither the row nor the transaction log knows a commit's place in the WAL.
 * So a mark is kept in shared memory: all transactions below this id had
 * ended before this place; when the standbys have confirmed the place, what
 * is below the id is safe.  Marks are made by those who ask.  They are lost in
 * a crash: then nothing is safe until the standbys have answered once.
 */
#include "postgres.h"

#include "access/commit_ts.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "durable.h"

PG_FUNCTION_INFO_V1(og_durable_xmin);

/* How long a standby that is there may take to answer, in milliseconds. */
#define PATIENCE	100

/* Under the mutex.  Read and written by anybody. */
typedef struct Shared
{
	slock_t		mutex;
	TransactionId safe;			/* what precedes it is safe; 0: not known */
	TransactionId next;			/* will be, when ... */
	XLogRecPtr	place;			/* ... this is confirmed; 0: no mark */
} Shared;

static Shared *shared = NULL;

Size
og_durable_shmem_size(void)
{
	return MAXALIGN(sizeof(Shared));
}

void
og_durable_init_shmem(void)
{
	bool		found;

	shared = ShmemInitStruct("order_guard durable", sizeof(Shared), &found);
	if (found)
		return;
	memset(shared, 0, sizeof(Shared));
	SpinLockInit(&shared->mutex);
}

/* What a session with the caller's synchronous_commit would wait for. */
static int
wait_mode(void)
{
	switch (synchronous_commit)
	{
		case SYNCHRONOUS_COMMIT_REMOTE_WRITE:
			return SYNC_REP_WAIT_WRITE;
		case SYNCHRONOUS_COMMIT_REMOTE_APPLY:
			return SYNC_REP_WAIT_APPLY;
		default:
			return SYNC_REP_WAIT_FLUSH;
	}
}

static bool
is_confirmed(XLogRecPtr place)
{
	XLogRecPtr	confirmed;

	LWLockAcquire(SyncRepLock, LW_SHARED);
	confirmed = WalSndCtl->lsn[wait_mode()];
	LWLockRelease(SyncRepLock);
	return place <= confirmed;
}

/* Is it below the mark?  Moves the mark on. */
static bool
is_below_mark(TransactionId xid)
{
	TransactionId next = GetLatestSnapshot()->xmin;
	XLogRecPtr	place = GetXLogInsertRecPtr();
	XLogRecPtr	marked;
	bool		safe;
	bool		confirmed;

	SpinLockAcquire(&shared->mutex);
	marked = shared->place;
	SpinLockRelease(&shared->mutex);
	confirmed = marked != 0 && is_confirmed(marked);
	SpinLockAcquire(&shared->mutex);
	if (confirmed && shared->place == marked)
		shared->safe = shared->next;
	if (marked == 0 || (confirmed && shared->place == marked))
	{
		shared->next = next;
		shared->place = place;
	}
	safe = shared->safe != 0 && TransactionIdPrecedes(xid, shared->safe);
	SpinLockRelease(&shared->mutex);
	return safe;
}

/* Is a standby connected that could confirm something soon? */
static bool
may_be_confirmed(void)
{
	for (int i = 0; i < max_wal_senders; i++)
	{
		WalSnd	   *sender = &WalSndCtl->walsnds[i];
		bool		active;

		SpinLockAcquire(&sender->mutex);
		active = sender->pid != 0 && sender->sync_standby_priority > 0 &&
			sender->state == WALSNDSTATE_STREAMING;
		SpinLockRelease(&sender->mutex);
		if (active)
			return true;
	}
	return false;
}

/* What is on disk here is on its way there: that takes a moment only. */
static bool
wait_for_standby(XLogRecPtr place)
{
	for (int waited = 0; !is_confirmed(place); waited += 2)
	{
		if (waited >= PATIENCE || !may_be_confirmed())
			return false;
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 2,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	return true;
}

/*
 * og_durable
 *		Will this commit, which is visible, be there after a crash and a
 *		failover?  lsn: of its commit record, if that is known.
 */
bool
og_durable(TransactionId xid, XLogRecPtr lsn)
{
	XLogRecPtr	place = InvalidXLogRecPtr;

	if (!TransactionIdIsNormal(xid) || RecoveryInProgress())
		return true;
	LWLockAcquire(XactTruncationLock, LW_SHARED);
	if (TransactionIdFollowsOrEquals(xid, OG_OLDEST_CLOG_XID))
		place = TransactionIdGetCommitLSN(xid);
	LWLockRelease(XactTruncationLock);
	XLogFlush(Max(place, lsn));
	if (max_wal_senders == 0 || SyncRepStandbyNames == NULL ||
		SyncRepStandbyNames[0] == '\0')
		return true;
	if (lsn != 0)
		return is_confirmed(lsn) || wait_for_standby(lsn);
	return is_below_mark(xid) || wait_for_standby(GetFlushRecPtr(NULL));
}

/*
 * order_guard._durable(xmin xid) returns boolean
 *		The same for a row that the caller sees; NULL if it is his own.
 */
Datum
og_durable_xmin(PG_FUNCTION_ARGS)
{
	TransactionId xmin = PG_GETARG_TRANSACTIONID(0);

	if (TransactionIdIsCurrentTransactionId(xmin))
		PG_RETURN_NULL();
	PG_RETURN_BOOL(og_durable(xmin, 0));
}

/*
 * og_durable_time
 *		When a transaction committed, if that is recorded; else 0.
 */
TimestampTz
og_durable_time(TransactionId xid)
{
	TimestampTz at = 0;

	if (track_commit_timestamp && TransactionIdIsNormal(xid))
		(void) TransactionIdGetCommitTsData(xid, &at, NULL);
	return at;
}
