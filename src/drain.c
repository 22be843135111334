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
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "attempts.h"
#include "drain.h"
#include "moves.h"
#include "open.h"
#include "query.h"
#include "tracker.h"
#include "verdict.h"

static uint64 seen_dropped = 0;

/* The newest commit that has been applied. */
static XLogRecPtr applied_lsn = 0;

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
examine(OgWatch *watch, OgRowRecord *record, bool changed)
{
	OgTracked  *tracked = og_tracker_find(watch->id, record->hash);
	char	   *key = tracked ? tracked->key : og_reader_key(record);

	if (key)
		og_tracker_examine(watch, record->hash, key, changed);
	else
		og_watch_request_sweep(watch->id, "key too long");
}

/* Something came that was seen only now, or whose end nobody noted. */
static bool
came_late(const OgXact *xact)
{
	return xact->end == NULL || xact->end->lsn < applied_lsn;
}

/* It was in the backlog, but now it is known since when it is so. */
static bool
has_entered(OgTracked *tracked, OgRowRecord *record, const char *status)
{
	char	   *old = og_reader_value(record, OG_VALUE_OLD_STATUS);

	return tracked->backlog && (old == NULL || strcmp(old, status) != 0);
}

/* The order is in this status since then. */
static void
track_status(OgWatch *watch, OgRowRecord *record, TimestampTz since)
{
	OgTracked  *tracked = og_tracker_find(watch->id, record->hash);
	char	   *status = og_reader_value(record, OG_VALUE_NEW_STATUS);
	char	   *key;

	if (tracked && status && strcmp(tracked->status, status) == 0 &&
		!has_entered(tracked, record, status))
	{
		if (watch->since)
			og_tracker_schedule(tracked, 0);
		return;
	}
	key = tracked ? pstrdup(tracked->key) : og_reader_key(record);
	if (tracked)
	{
		og_open_clear(watch->id, "stalled", record->hash,
					  psprintf("moved on to %s", status ? status : "NULL"));
		og_tracker_remove(tracked);
	}
	if (og_watch_deadline(watch, status) == NULL)
		return;
	if (key == NULL)
	{
		og_watch_request_sweep(watch->id, "key too long");
		return;
	}
	tracked = og_tracker_put(watch, record->hash, key, status, since);
	if (tracked && watch->since)
		og_tracker_schedule(tracked, 0);
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

/* What a deletion left of an order that was tracked, or should have been. */
static void
apply_delete(OgWatch *watch, OgXact *xact, OgRow *row, bool changed)
{
	OgRowRecord *record = row->record;
	OgTracked  *tracked = og_tracker_find(watch->id, record->hash);
	char	   *old = og_reader_value(record, OG_VALUE_OLD_STATUS);
	const char *why = NULL;

	if (row->moved_to || (record->head.flags & OG_ROW_MOVED))
		why = "its key was changed";
	else if (!watch->expression && !came_late(xact) &&
			 og_watch_deadline(watch, old) == NULL)
		why = psprintf("moved on to %s", old ? old : "NULL");
	if (why == NULL)
	{
		examine(watch, record, changed);
		keep_facts(watch, record);
	}
	else if (tracked)
	{
		og_open_clear(watch->id, "stalled", record->hash, why);
		og_tracker_remove(tracked);
	}
}

static void
apply_row(OgWatch *watch, OgXact *xact, OgRow *row, bool changed)
{
	OgRowRecord *record = row->record;
	ListCell   *cell;

	switch (record->operation)
	{
		case 'I':
		case 'U':
			og_open_clear(watch->id, "deleted", record->hash,
						  "the order is there again");
			og_open_clear(watch->id, "vanished", record->hash,
						  "the order appeared");
			if (watch->expression || came_late(xact))
				examine(watch, record, true);
			else
				track_status(watch, record, xact->end->at);
			break;
		case 'D':
			apply_delete(watch, xact, row, changed);
			break;
		case 'T':
			foreach(cell, og_tracker_all(watch->id))
				og_tracker_schedule(lfirst(cell), 0);
			break;
		default:
			break;
	}
}

typedef struct LastImage
{
	struct
	{
		int32		watch;
		uint8		hash[16];
	}			key;
	OgRow	   *row;
	bool		changed;		/* it was not the only one */
} LastImage;

/*
 * What the transaction left of each order: the images between were never to
 * be seen by anybody.  A key in two relations is one of two partitions.
 */
static HTAB *
find_last_images(OgXact *xact)
{
	HASHCTL		control = {0};
	HTAB	   *images;
	ListCell   *cell;

	control.keysize = sizeof(((LastImage *) 0)->key);
	control.entrysize = sizeof(LastImage);
	control.hcxt = CurrentMemoryContext;
	images = hash_create("order_guard last images", 32, &control,
						 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	foreach(cell, xact->rows)
	{
		OgRow	   *row = lfirst(cell);
		LastImage	probe = {{row->record->watch}};
		LastImage  *image;
		bool		found;

		if (row->state != OG_ROW_LIVE)
			continue;
		memcpy(probe.key.hash, row->record->hash, 16);
		image = hash_search(images, &probe.key, HASH_ENTER, &found);
		image->row = row;
		image->changed = found;
	}
	return images;
}

static void
apply_committed(OgXact *xact)
{
	HTAB	   *images = find_last_images(xact);
	HASH_SEQ_STATUS scan;
	LastImage  *image;
	ListCell   *cell;

	hash_seq_init(&scan, images);
	while ((image = hash_seq_search(&scan)) != NULL)
	{
		OgWatch    *watch = og_watch_find(image->key.watch);

		if (watch && og_watch_covers(watch, image->row->record->relation) &&
			(xact->end == NULL || xact->end->at >= watch->created))
			apply_row(watch, xact, image->row, image->changed);
	}
	hash_destroy(images);
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

/* By the time of their commits, those without one first. */
static int
compare_commits(const ListCell *a, const ListCell *b)
{
	const OgXact *left = lfirst(a);
	const OgXact *right = lfirst(b);
	XLogRecPtr	lsn = left->end ? left->end->lsn : 0;
	XLogRecPtr	other = right->end ? right->end->lsn : 0;

	return lsn < other ? -1 : lsn > other;
}

/*
 * What committed, in the order of the commits: several sessions may have
 * worked on one order.
 */
static void
apply_all(List *committed)
{
	XLogRecPtr	newest = applied_lsn;
	ListCell   *cell;

	list_sort(committed, compare_commits);
	foreach(cell, committed)
	{
		OgXact	   *xact = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		apply_committed(xact);
		if (xact->end)
			newest = Max(newest, xact->end->lsn);
	}
	applied_lsn = newest;
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
 *		records that are done with.  SPI is connected.
 */
uint64
og_drain_run(OgReading *reading)
{
	bool		effects = false;
	uint64		records = 0;
	List	   *committed = NIL;
	ListCell   *cell;

	foreach(cell, reading->xacts)
	{
		OgXact	   *xact = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		xact->keep = must_stay(xact);
		if (xact->keep)
			continue;
		records += xact->records;
		og_moves_mark(xact);
		og_attempts_write(xact);
		if (xact->outcome == OG_COMMITTED)
			committed = lappend(committed, xact);
		effects |= xact->rows != NIL || xact->bulk != NIL ||
			xact->failures != NIL;
	}
	apply_all(committed);
	check_dropped();
	og_reader_limit(reading);
	if (effects)
		save_position(reading);
	return records;
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
