/*
 * drain.c
 *		From the journal to the tracker and the attempts.
 *
 * Runs in the worker.  og_drain_run() takes what has ended in the journal and
 * writes its effects, and with them, in the same transaction, how far each
 * segment has been consumed; when that has committed, og_drain_consume()
 * frees what is done with.  After a crash between the two the position keeps
 * effects from being written again.  A commit that is not flushed yet stays
 * in the journal, and all of its transaction's segment behind it.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "attempts.h"
#include "drain.h"
#include "open.h"
#include "query.h"
#include "tracker.h"
#include "verdict.h"

static uint64 seen_dropped = 0;

/* ------------------------------------------------------------------------
 * Position
 * ------------------------------------------------------------------------
 */

/* The row with lease 0 says that this journal has been seen before. */
static void
note_journal(void)
{
	static OgPlan replace = {
		"WITH old AS (DELETE FROM order_guard.position WHERE nonce <> $1) "
		"INSERT INTO order_guard.position VALUES ($1, 0, 0) "
		"ON CONFLICT DO NOTHING", NULL
	};
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum((int64) og_journal_nonce())};

	og_query_run(&replace, 1, types, values, NULL);
	if (SPI_processed > 0)
		og_watch_request_sweep(0, "journal new");
}

/*
 * og_drain_start
 *		Takes up the position that the last worker left.  SPI is connected.
 */
void
og_drain_start(void)
{
	static OgPlan plan = {
		"SELECT lease, consumed FROM order_guard.position "
		"WHERE nonce = $1 AND lease > 0", NULL
	};
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum((int64) og_journal_nonce())};

	if (!og_journal_ready())
		return;
	note_journal();
	og_query_run(&plan, 1, types, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
		og_journal_restore((uint64) DatumGetInt64(og_query_datum(row, 0)),
						   DatumGetInt32(og_query_datum(row, 1)));
}

static void
save_position(OgReading *reading)
{
	static OgPlan plan = {
		"WITH gone AS (DELETE FROM order_guard.position p WHERE nonce = $1 "
		"AND lease > 0 AND lease <> ALL ($2)) "
		"INSERT INTO order_guard.position "
		"SELECT $1, l, c FROM unnest($2, $3) AS u (l, c) "
		"ON CONFLICT (nonce, lease) DO UPDATE SET consumed = excluded.consumed "
		"WHERE position.consumed < excluded.consumed", NULL
	};
	int			n = list_length(reading->segments);
	Datum	   *lease = palloc(n * sizeof(Datum));
	Datum	   *limit = palloc(n * sizeof(Datum));
	Oid			types[] = {INT8OID, INT8ARRAYOID, INT4ARRAYOID};
	Datum		values[3];

	for (int i = 0; i < n; i++)
	{
		OgSegmentCopy *segment = list_nth(reading->segments, i);

		lease[i] = Int64GetDatum((int64) segment->lease);
		limit[i] = Int32GetDatum(segment->limit);
	}
	values[0] = Int64GetDatum((int64) og_journal_nonce());
	values[1] = og_query_array(lease, NULL, n, INT8OID);
	values[2] = og_query_array(limit, NULL, n, INT4OID);
	og_query_run(&plan, 3, types, values, NULL);
}

/* ------------------------------------------------------------------------
 * Committed rows
 * ------------------------------------------------------------------------
 */

/* Only its row can tell what became of it: have it looked at now. */
static void
examine(OgWatch *watch, OgRowRecord *record)
{
	char	   *key = og_reader_key(record);

	if (key)
		og_tracker_examine(watch, record->hash, key);
	else
		og_watch_request_sweep(watch->id, "key too long");
}

/* The order is in this status since then. */
static void
track_status(OgWatch *watch, OgRowRecord *record, TimestampTz since)
{
	OgTracked  *tracked = og_tracker_find(watch->id, record->hash);
	char	   *status = og_reader_value(record, OG_VALUE_NEW_STATUS);
	char	   *key;

	if (tracked && status && strcmp(tracked->status, status) == 0)
		return;
	if (tracked)
		og_open_clear(watch->id, "stalled", record->hash,
					  psprintf("moved on to %s", status ? status : "NULL"));
	if (og_watch_deadline(watch, status) == NULL)
	{
		if (tracked)
			og_tracker_remove(tracked);
		return;
	}
	key = og_reader_key(record);
	if (key)
		og_tracker_put(watch, record->hash, key, status, since);
	else
		og_watch_request_sweep(watch->id, "key too long");
}

/* What the row, which is gone, cannot tell any more. */
static void
keep_facts(OgWatch *watch, OgRowRecord *record)
{
	OgTracked  *tracked = og_tracker_find(watch->id, record->hash);

	if (tracked)
		og_tracker_set_facts(tracked,
							 og_reader_value(record, OG_VALUE_AMOUNT),
							 og_reader_value(record, OG_VALUE_CUSTOMER));
}

static void
apply_delete(OgWatch *watch, OgRowRecord *record)
{
	OgTracked  *tracked = og_tracker_find(watch->id, record->hash);

	if (record->head.flags & OG_ROW_MOVED)
	{
		og_open_clear(watch->id, "stalled", record->hash,
					  "its key was changed");
		if (tracked)
			og_tracker_remove(tracked);
	}
	else if (tracked || watch->expression ||
			 og_watch_deadline(watch,
							   og_reader_value(record, OG_VALUE_OLD_STATUS)))
	{
		examine(watch, record);
		keep_facts(watch, record);
	}
}

static void
apply_row(OgWatch *watch, OgRowRecord *record, TimestampTz since)
{
	ListCell   *cell;

	switch (record->operation)
	{
		case 'I':
		case 'U':
			og_open_clear(watch->id, "deleted", record->hash,
						  "the order is there again");
			og_open_clear(watch->id, "vanished", record->hash,
						  "the order appeared");
			if (watch->expression)
				examine(watch, record);
			else
				track_status(watch, record, since);
			break;
		case 'D':
			apply_delete(watch, record);
			break;
		case 'T':
			foreach(cell, og_tracker_all(watch->id))
				og_tracker_schedule(lfirst(cell), 0);
			break;
		default:
			break;
	}
}

static void
apply_committed(OgXact *xact)
{
	ListCell   *cell;

	foreach(cell, xact->rows)
	{
		OgRow	   *row = lfirst(cell);
		OgWatch    *watch = og_watch_find(row->record->watch);

		if (watch && row->state == OG_ROW_LIVE &&
			og_watch_covers(watch, row->record->relation) &&
			(xact->end == NULL || xact->end->at >= watch->created))
			apply_row(watch, row->record, xact->end ? xact->end->at :
					  GetCurrentTimestamp());
	}
	foreach(cell, xact->bulk)
		og_watch_request_sweep(((OgBulkRecord *) lfirst(cell))->watch, "bulk");
	if (xact->end && (xact->end->head.flags & OG_OUTCOME_INCOMPLETE))
		og_watch_request_sweep(0, "journal full");
}

/* ------------------------------------------------------------------------
 * Transactions
 * ------------------------------------------------------------------------
 */

/* Nothing of it can be judged yet. */
static bool
must_stay(OgXact *xact)
{
	if (xact->end == NULL)
		xact->outcome = og_verdict(xact);
	if (xact->outcome == OG_OPEN)
		return true;
	return xact->outcome == OG_COMMITTED && xact->end != NULL &&
		xact->end->lsn > GetFlushRecPtr(NULL);
}

/* True if it had an effect. */
static bool
apply_xact(OgXact *xact)
{
	og_attempts_write(xact);
	if (xact->outcome == OG_COMMITTED)
		apply_committed(xact);
	return xact->rows != NIL || xact->bulk != NIL || xact->failures != NIL;
}

static void
check_dropped(void)
{
	uint64		dropped = og_journal_dropped(MyDatabaseId);

	if (dropped > seen_dropped)
		og_watch_request_sweep(0, "journal full");
	seen_dropped = dropped;
}

/*
 * og_drain_run
 *		Writes the effects of all that has ended.  Returns the number of
 *		records read.  SPI is connected.
 */
uint64
og_drain_run(OgReading *reading)
{
	bool		effects = false;
	ListCell   *cell;

	foreach(cell, reading->xacts)
	{
		OgXact	   *xact = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		xact->keep = must_stay(xact);
		if (!xact->keep)
			effects |= apply_xact(xact);
	}
	check_dropped();
	og_reader_limit(reading);
	if (effects)
		save_position(reading);
	return reading->records;
}

/*
 * og_drain_consume
 *		After the commit: what has been read may go.
 */
void
og_drain_consume(OgReading *reading)
{
	ListCell   *cell;

	foreach(cell, reading->segments)
	{
		OgSegmentCopy *segment = lfirst(cell);

		og_journal_consume(segment->number, segment->lease, segment->limit);
	}
}
