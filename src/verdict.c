/*
 * verdict.c
 *		What became of a transaction that the journal alone does not tell.
 *
 * Runs in the worker.  Transaction ids are used again after a crash, so an id
 * alone says nothing about a transaction of an earlier life of the server: it
 * may be looked up in the transaction log only if it lies below the fence, the
 * next id that the recovery after that life began with.  At or above it the
 * transaction's records never reached the disk, and it is lost.
 */
#include "postgres.h"

#include "access/transam.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"

#include "compat.h"
#include "verdict.h"

/* The id of a transaction; 0: it has none. */
static uint64
find_xid(const OgXact *xact)
{
	ListCell   *cell;

	if (xact->end != NULL)
		return xact->end->xid;
	foreach(cell, xact->rows)
	{
		const OgRow *row = lfirst(cell);

		if (row->xid != 0)
			return row->xid;
	}
	foreach(cell, xact->bulk)
	{
		const OgBulkRecord *bulk = lfirst(cell);

		if (bulk->xid != 0)
			return bulk->xid;
	}
	return 0;
}

/*
 * Asks the transaction log about an id that is ours for certain, of a session
 * that is gone or went on: what is in progress still is prepared.
 */
static OgOutcome
ask_log(uint64 value)
{
	TransactionId xid = XidFromFullTransactionId(FullTransactionIdFromU64(value));
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());
	OgOutcome	outcome = OG_LOST;

	if (value >= next)
		return OG_LOST;
	/* The functions below cannot tell so old an id from a newer one. */
	if (next - value >= PG_UINT32_MAX / 2)
		return OG_UNKNOWN;
	if (TransactionIdIsInProgress(xid))
		return OG_PREPARED;
	LWLockAcquire(XactTruncationLock, LW_SHARED);
	if (TransactionIdPrecedes(xid, OG_OLDEST_CLOG_XID))
		outcome = OG_UNKNOWN;
	else if (TransactionIdDidCommit(xid))
		outcome = OG_COMMITTED;
	LWLockRelease(XactTruncationLock);
	return outcome;
}

/*
 * Of an earlier life of the server.  Without the fence of the next one, what
 * the transaction log calls committed may be another transaction with the same
 * id; what it does not has failed either way.
 */
static OgOutcome
judge_old(uint32 incarnation, uint64 xid)
{
	uint64		fence = PG_UINT64_MAX;
	bool		certain = false;
	OgOutcome	outcome;

	if (og_journal_fence_after(incarnation, &fence, &certain) && xid >= fence)
		return OG_LOST;
	outcome = ask_log(xid);
	return certain || outcome == OG_LOST ? outcome : OG_UNKNOWN;
}

/*
 * og_verdict
 *		OG_OPEN if it may still end by itself.  What a commit of an earlier
 *		life of the server says for itself does not count: it may not have
 *		been on disk when the server crashed.
 */
OgOutcome
og_verdict(const OgXact *xact)
{
	uint64		xid = find_xid(xact);
	uint32		incarnation = xact->session->incarnation;

	if (xact->consumed != NULL)
		return xact->after->kind == OG_AFTER_SILENT ?
			OG_ROLLED_BACK : OG_COMMITTED;
	if (incarnation == og_journal_incarnation())
	{
		if (xact->end != NULL)
			return xact->end->outcome;
		if (xact->newest)
			return OG_OPEN;
		return xid == 0 ? OG_LOST : ask_log(xid);
	}
	if (xact->end != NULL && (xid == 0 || xact->end->outcome != OG_COMMITTED))
		return xact->end->outcome;
	if (xid == 0)
		return OG_LOST;
	return judge_old(incarnation, xid);
}
