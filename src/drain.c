/*
 * drain.c
 *		From the journal to the tracker and the attempts.
 *
 * Runs in the worker.  og_drain_run() takes what has ended in the journal and
 * writes its effects, and with them, in the same transaction, how far each
 * segment has been consumed; when that has committed, og_drain_consume()
 * frees what is done with.  After a crash between the two the position keeps
 * effects from being written again.  What has not ended stays in the journal,
 * and with it all that stands behind it in a segment.
 */
#include "postgres.h"

#include "access/xlogdefs.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "attempts.h"
#include "drain.h"
#include "fault.h"
#include "loss.h"
#include "moves.h"
#include "open.h"
#include "position.h"
#include "quarantine.h"
#include "query.h"
#include "tracker.h"
#include "unheard.h"
#include "verdict.h"

/* What a sweep was asked for in this tick. */
static uint32 seen_dropped = 0;
static uint64 seen_corrupt = 0;

/* The newest commit that has been applied. */
static XLogRecPtr applied_lsn = 0;

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

/* Something came that was seen only now, or of which not all was noted. */
static bool
came_late(const OgXact *xact)
{
	return xact->end == NULL || xact->end->lsn < applied_lsn ||
		(xact->end->head.flags & OG_OUTCOME_INCOMPLETE);
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
	bool		waits = og_watch_deadline(watch, status) != NULL;
	char	   *key = NULL;

	if (tracked && status && strcmp(tracked->status, status) == 0 &&
		!has_entered(tracked, record, status))
	{
		if (watch->since)
			og_tracker_schedule(tracked, 0);
		return;
	}
	if (waits)
		key = tracked ? pstrdup(tracked->key) : og_reader_key(record);
	if (tracked)
	{
		if (og_open_has(watch->id, "stalled", record->hash))
			og_open_clear(watch->id, "stalled", record->hash,
						  psprintf("moved on to %s",
								   status ? status : "NULL"));
		og_tracker_remove(tracked);
	}
	if (!waits)
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

/* Somebody works on the order, so it is there. */
static void
clear_of_missing(OgWatch *watch, OgRowRecord *record)
{
	og_open_clear(watch->id, "deleted", record->hash,
				  "the order is there again");
	og_open_clear(watch->id, "vanished", record->hash, "the order appeared");
	og_open_clear(watch->id, "unacknowledged", record->hash,
				  "the order was worked on again");
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
			if (og_open_any())
				clear_of_missing(watch, record);
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

/* A row of a transaction, and the how-manieth it is. */
typedef struct Image
{
	OgRow	   *row;
	int			number;
} Image;

static int
compare_orders(const Image *a, const Image *b)
{
	uint32		left = a->row->record->watch;
	uint32		right = b->row->record->watch;

	if (left != right)
		return left < right ? -1 : 1;
	return memcmp(a->row->record->hash, b->row->record->hash, 16);
}

static int
compare_images(const void *a, const void *b)
{
	int			order = compare_orders(a, b);

	return order != 0 ? order :
		((const Image *) a)->number - ((const Image *) b)->number;
}

/*
 * Its rows that live, those of one order one after the other.  Returns how
 * many.  A key in two relations is one of two partitions.
 */
static int
collect_images(const OgXact *xact, Image **images)
{
	ListCell   *cell;
	int			n = 0;

	*images = palloc(list_length(xact->rows) * sizeof(Image));
	foreach(cell, xact->rows)
	{
		OgRow	   *row = lfirst(cell);

		if (row->state == OG_ROW_LIVE)
			(*images)[n++] = (Image) {row, foreach_current_index(cell)};
	}
	if (n > 1)
		qsort(*images, n, sizeof(Image), compare_images);
	return n;
}

/* Rows were counted only: the table has them. */
static void
sweep_bulk(OgXact *xact)
{
	ListCell   *cell;

	foreach(cell, xact->bulk)
	{
		OgBulkRecord *bulk = lfirst(cell);
		OgWatch    *watch = og_watch_find(bulk->watch);

		if (watch && og_watch_counts(watch, bulk->relation))
			og_watch_request_sweep(watch->id, "bulk");
	}
}

static void
apply_committed(OgXact *xact)
{
	Image	   *images;
	int			n;
	bool		changed = false;

	if (OG_FAULT("drain-poison") &&
		strcmp(xact->session->application, "poison") == 0)
		elog(ERROR, "poison");
	n = collect_images(xact, &images);
	for (int i = 0; i < n; i++)
	{
		OgRow	   *row = images[i].row;
		OgWatch    *watch;

		/* Images that another one followed were never seen by anybody. */
		if (i + 1 < n && compare_orders(&images[i], &images[i + 1]) == 0)
		{
			changed = true;
			continue;
		}
		watch = og_watch_find(row->record->watch);
		if (watch && og_watch_covers(watch, row->record->relation) &&
			(xact->end == NULL || xact->end->at >= watch->created))
			apply_row(watch, xact, row, changed);
		changed = false;
	}
	pfree(images);
	sweep_bulk(xact);
	if (xact->end && (xact->end->head.flags & OG_OUTCOME_INCOMPLETE))
		og_watch_request_sweep(0, "journal full");
}

/* Whether it committed is not known: its rows tell. */
static void
examine_rows(OgXact *xact)
{
	ListCell   *cell;

	foreach(cell, xact->rows)
	{
		OgRow	   *row = lfirst(cell);
		OgWatch    *watch = og_watch_find(row->record->watch);

		if (watch && row->state == OG_ROW_LIVE &&
			row->record->operation != 'T' &&
			og_watch_covers(watch, row->record->relation))
			examine(watch, row->record, true);
	}
	sweep_bulk(xact);
}

/* ------------------------------------------------------------------------
 * Transactions
 * ------------------------------------------------------------------------
 */

/*
 * Decides what became of each transaction.  A commit that is not flushed yet
 * (synchronous_commit = off) is flushed together with ours, before anybody
 * sees what we make of it.
 */
static void
judge(OgReading *reading)
{
	ListCell   *cell;

	foreach(cell, reading->xacts)
	{
		OgXact	   *xact = lfirst(cell);

		og_unheard_find(reading, xact);
		xact->outcome = og_verdict(xact);
		xact->keep = xact->outcome == OG_OPEN;
	}
}

/* Does any of its records stand behind one that is to be kept? */
static bool
is_behind(OgXact *xact)
{
	ListCell   *cell;

	foreach(cell, xact->places)
	{
		OgPlace    *place = lfirst(cell);

		if (place->offset > place->segment->limit)
			return true;
	}
	return false;
}

/*
 * What stands behind a transaction that is kept cannot be consumed, so it has
 * to be kept itself: its effects would be written once more otherwise.
 */
static void
keep_behind(OgReading *reading)
{
	bool		again;
	ListCell   *cell;

	do
	{
		again = false;
		og_reader_limit(reading);
		foreach(cell, reading->xacts)
		{
			OgXact	   *xact = lfirst(cell);

			if (!xact->keep && is_behind(xact))
				again = xact->keep = true;
		}
	} while (again);
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

/* Careful: an error of one of them leaves the others working. */
static bool
try(void (*apply) (OgXact *), OgXact *xact, bool careful)
{
	CHECK_FOR_INTERRUPTS();
	if (careful)
		return og_quarantine_try(apply, xact);
	apply(xact);
	return true;
}

/*
 * What committed, in the order of the commits: several sessions may have
 * worked on one order.
 */
static void
apply_all(List *committed, bool careful)
{
	XLogRecPtr	newest = applied_lsn;
	ListCell   *cell;

	list_sort(committed, compare_commits);
	foreach(cell, committed)
	{
		OgXact	   *xact = lfirst(cell);

		try(apply_committed, xact, careful);
		if (xact->end)
			newest = Max(newest, xact->end->lsn);
	}
	applied_lsn = newest;
}

/* What is not in the journal, or cannot be read, is found by a sweep. */
static void
check_gaps(OgReading *reading)
{
	uint64		corrupt = og_journal_corrupt();
	ListCell   *cell;

	if (og_journal_unswept(MyDatabaseId, &seen_dropped))
		og_loss_note(0, "journal_lost", "journal full");
	foreach(cell, reading->segments)
		corrupt += ((OgSegmentCopy *) lfirst(cell))->corrupt;
	if (corrupt > seen_corrupt)
		og_loss_note(0, "journal_lost", "journal damaged");
	seen_corrupt = corrupt;
}

/* What did not come about, or may not have. */
static void
apply_attempts(OgXact *xact)
{
	og_moves_mark(xact);
	og_attempts_write(xact);
	og_unheard_note(xact);
	if (xact->outcome == OG_UNKNOWN)
		examine_rows(xact);
}

/*
 * og_drain_run
 *		Writes the effects of all that has ended.  Returns the number of
 *		records that are done with.  SPI is connected.  "careful" after an
 *		error: see quarantine.c.
 */
uint64
og_drain_run(OgReading *reading, bool careful)
{
	bool		effects = false;
	uint64		records = 0;
	List	   *committed = NIL;
	ListCell   *cell;

	OG_CRASH("tick-crash", reading->xacts != NIL);
	judge(reading);
	keep_behind(reading);
	foreach(cell, reading->xacts)
	{
		OgXact	   *xact = lfirst(cell);

		if (xact->keep)
			continue;
		records += xact->records;
		if (try(apply_attempts, xact, careful) &&
			xact->outcome == OG_COMMITTED)
			committed = lappend(committed, xact);
		effects |= xact->rows != NIL || xact->bulk != NIL ||
			xact->failures != NIL || xact->after != NULL;
	}
	apply_all(committed, careful);
	check_gaps(reading);
	if (effects)
		og_position_save(reading);
	return records;
}

/*
 * og_drain_left
 *		How many segments hold something that could not be consumed.
 */
int
og_drain_left(const OgReading *reading)
{
	ListCell   *cell;
	int			left = 0;

	foreach(cell, reading->segments)
	{
		const OgSegmentCopy *segment = lfirst(cell);

		left += segment->limit < segment->tail;
	}
	return left;
}

/*
 * og_drain_consume
 *		After the commit: what has been read may go.
 */
void
og_drain_consume(OgReading *reading)
{
	ListCell   *cell;

	OG_CRASH("consume-crash", reading->xacts != NIL);
	og_loss_end_reading();
	og_journal_note_swept(MyDatabaseId, seen_dropped);
	foreach(cell, reading->segments)
	{
		OgSegmentCopy *segment = lfirst(cell);

		og_journal_note_corrupt(segment);
		og_journal_consume(segment->number, segment->lease, segment->limit);
	}
}
