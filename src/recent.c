/*
 * recent.c
 *		What was undone a moment ago and the worker has not recorded yet.
 *
 * Runs in whoever asks for an outcome, reads copies of the journal.  Gives
 * what an attempt will be made of: rows that were rolled back, refused or
 * prepared, and those of a backend that is gone without a word.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"
#include "utils/xid8.h"

#include "compat.h"
#include "reader.h"
#include "reason.h"
#include "views.h"

PG_FUNCTION_INFO_V1(og_recent_attempts);
PG_FUNCTION_INFO_V1(og_recent_committed);

#define RECENT_COLUMNS 20

/* What to say of a row; NULL: nothing, it is open, committed or void. */
static const char *
row_outcome(const OgXact *xact, const OgRow *row)
{
	switch (row->state)
	{
		case OG_ROW_REFUSED:
		case OG_ROW_UNDONE:
			return "rolled_back";
		case OG_ROW_LIVE:
		case OG_ROW_WAITING:
			if (xact->outcome == OG_PREPARED && row->state == OG_ROW_LIVE)
				return "prepared";
			if (xact->end == NULL &&
				(!xact->newest || og_views_backend(xact->session) == NULL))
				return "unknown";
			return NULL;
		default:
			return NULL;
	}
}

/* Columns that tell how it ended; end may be NULL. */
static void
set_end(Datum *values, bool *nulls, const OgRow *row, const OgEndRecord *end)
{
	const OgError *error = NULL;

	nulls[19] = end == NULL;
	values[19] = TimestampTzGetDatum(end ? end->at : 0);
	if (row->state == OG_ROW_REFUSED || row->state == OG_ROW_UNDONE)
		error = &end->error;
	og_views_set_text(values, nulls, 11,
					  error ? og_reason_cause(error->cause) : NULL);
	og_views_set_text(values, nulls, 12, error && error->sqlstate ?
					  unpack_sql_state(error->sqlstate) : NULL);
	og_views_set_text(values, nulls, 13,
					  error ? og_reason_text(error) : NULL);
	og_views_set_text(values, nulls, 14, error && error->constraint[0] ?
					  error->constraint : NULL);
	og_views_set_text(values, nulls, 16, end && end->outcome == OG_PREPARED ?
					  end->gid : NULL);
}

static void
put_row(ReturnSetInfo *result, const OgXact *xact, const OgRow *row,
		const char *outcome)
{
	Datum		values[RECENT_COLUMNS] = {0};
	bool		nulls[RECENT_COLUMNS] = {0};
	OgRowRecord *record = row->record;
	char		operation[2] = {record->operation, '\0'};

	values[0] = Int32GetDatum(record->watch);
	values[1] = ObjectIdGetDatum(record->relation);
	og_views_set_text(values, nulls, 2, og_reader_key(record));
	values[3] = og_views_hash_datum(record->hash);
	og_views_set_text(values, nulls, 4, operation);
	values[5] = BoolGetDatum(row->state == OG_ROW_REFUSED);
	og_views_set_text(values, nulls, 6,
					  og_reader_value(record, OG_VALUE_OLD_STATUS));
	og_views_set_text(values, nulls, 7,
					  og_reader_value(record, OG_VALUE_NEW_STATUS));
	og_views_set_text(values, nulls, 8,
					  og_reader_value(record, OG_VALUE_TOKEN));
	og_views_set_text(values, nulls, 9, outcome);
	values[10] = BoolGetDatum(xact->end == NULL);
	set_end(values, nulls, row, row->end ? row->end : xact->end);
	nulls[15] = row->xid == 0;
	values[15] = FullTransactionIdGetDatum(FullTransactionIdFromU64(row->xid));
	values[17] = Int32GetDatum(xact->session->pid);
	nulls[18] = xact->begin == NULL;
	values[18] = TimestampTzGetDatum(xact->begin ? xact->begin->start : 0);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
put_xact(ReturnSetInfo *result, const OgXact *xact)
{
	Oid			relation = InvalidOid;
	bool		visible = false;
	ListCell   *cell;

	foreach(cell, xact->rows)
	{
		OgRow	   *row = lfirst(cell);
		const char *outcome = row_outcome(xact, row);

		if (outcome == NULL)
			continue;
		if (relation != row->record->relation)
		{
			relation = row->record->relation;
			visible = og_views_may_see(relation);
		}
		if (visible)
			put_row(result, xact, row, outcome);
	}
}

/*
 * order_guard._recent(): one row for each row that was undone, in the order
 * in which that was written.
 */
Datum
og_recent_attempts(PG_FUNCTION_ARGS)
{
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	if (!og_journal_ready())
		return (Datum) 0;
	foreach(cell, og_reader_read(MyDatabaseId)->xacts)
	{
		CHECK_FOR_INTERRUPTS();
		put_xact((ReturnSetInfo *) fcinfo->resultinfo, lfirst(cell));
	}
	return (Datum) 0;
}

/*
 * order_guard._committed(xmin xid) returns boolean
 *		May it be said that a visible row of this transaction is committed?
 *		Not of the caller's own; of another one only once its commit record
 *		is on disk, which is seen to here.
 */
Datum
og_recent_committed(PG_FUNCTION_ARGS)
{
	TransactionId xid = PG_GETARG_TRANSACTIONID(0);
	XLogRecPtr	lsn = InvalidXLogRecPtr;

	if (!TransactionIdIsNormal(xid))
		PG_RETURN_BOOL(true);
	if (TransactionIdIsCurrentTransactionId(xid))
		PG_RETURN_BOOL(false);
	if (RecoveryInProgress())
		PG_RETURN_BOOL(true);
	LWLockAcquire(XactTruncationLock, LW_SHARED);
	if (TransactionIdFollowsOrEquals(xid, OG_OLDEST_CLOG_XID))
		lsn = TransactionIdGetCommitLSN(xid);
	LWLockRelease(XactTruncationLock);
	XLogFlush(lsn);
	PG_RETURN_BOOL(true);
}
