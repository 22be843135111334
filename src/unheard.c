/*
 * unheard.c
 *		What became known of a transaction after its end: that its client may
 *		not have heard of its commit, or was told of its rollback in passing.
 *
 * Runs in the worker, in the transaction that drains the journal.  Often the
 * transaction is in the same reading.  If it has been consumed before, its
 * attempts are in order_guard.attempt already, and its rows are found in the
 * segments that are still in use: those of a transaction that filled several
 * may be gone.
 *
 * After a crash nothing says which clients had been answered, but for one
 * case: a transaction that committed and whose backend died before it could
 * note that.  That one had not answered yet.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "attempts.h"
#include "query.h"
#include "reason.h"
#include "unheard.h"

/*
 * Something followed the end of a transaction that has been consumed: what
 * stands of it in the segments that are still in use.
 */
static OgXact *
read_consumed(const OgReading *reading, const OgXact *xact)
{
	OgXact	   *whole = palloc0(sizeof(OgXact));
	ListCell   *cell;

	whole->key = xact->key;
	whole->session = xact->session;
	foreach(cell, reading->segments)
	{
		OgSegmentCopy *segment = lfirst(cell);
		uint32		offset = sizeof(OgSegmentHeader);
		OgSessionRecord *session = NULL;

		while (offset < segment->consumed)
		{
			OgRecord   *record = og_journal_next(segment, &offset);

			if (record == NULL)
				break;
			if (record->type == OG_REC_SESSION)
				session = (OgSessionRecord *) record;
			else if (session && session->session == xact->key.session &&
					 record->xact == xact->key.xact)
				og_reader_understand(whole, record);
		}
	}
	return whole;
}

/*
 * og_unheard_find
 *		For any transaction of a reading, before it is judged.
 */
void
og_unheard_find(const OgReading *reading, OgXact *xact)
{
	if (xact->after && xact->end == NULL)
		xact->consumed = read_consumed(reading, xact);
}

/*
 * A rolled back transaction's attempts, found by the moment of its end, and
 * the incidents that tell of them.
 */
static OgPlan silent_plan = {
	"WITH changed AS (UPDATE order_guard.attempt SET cause = $4, "
	"reason = $5 || coalesce(reason, $6) WHERE ended_at = $1 "
	"AND session = $2 AND xact = $3 AND outcome = 'rolled_back' "
	"AND cause = 'error' RETURNING id, watch, hash, cause, reason), "
	"held AS (SELECT i.id, i.evidence ->> 'reason' AS old, c.cause, c.reason "
	"FROM changed c JOIN order_guard.incident i ON i.watch = c.watch "
	"AND i.hash = c.hash AND i.kind = 'vanished' AND i.state = 'open' "
	"AND i.evidence ->> 'attempt' = c.id::text FOR UPDATE OF i SKIP LOCKED) "
	"UPDATE order_guard.incident i SET evidence = i.evidence || "
	"jsonb_build_object('cause', h.cause, 'reason', h.reason), "
	"summary = replace(i.summary, ': ' || h.old, ': ' || h.reason) "
	"FROM held h WHERE i.id = h.id", NULL
};

static void
note_silent(const OgXact *xact)
{
	OgError		none = {.cause = xact->after->cause};
	char	   *prefix = og_reason_silent(xact->after->cause);
	Oid			types[] = {TIMESTAMPTZOID, INT8OID, INT8OID, TEXTOID, TEXTOID,
	TEXTOID};
	Datum		values[] = {
		TimestampTzGetDatum(xact->after->end),
		Int64GetDatum((int64) xact->key.session),
		Int64GetDatum((int64) xact->key.xact),
		CStringGetTextDatum(og_reason_cause(none.cause)),
		CStringGetTextDatum(prefix),
		CStringGetTextDatum("its error was not seen")
	};

	og_query_run(&silent_plan, 6, types, values, NULL);
}

/* It committed, and its backend died before it could say so to anybody. */
static bool
died_in_commit(const OgXact *xact)
{
	return xact->end == NULL && xact->consumed == NULL && xact->last &&
		xact->session->incarnation != og_journal_incarnation() &&
		xact->begin && (xact->begin->head.flags & OG_BEGIN_CLIENT);
}

/* An attempt for each order that it left, as if it had not committed. */
static void
write_unheard(OgXact *xact)
{
	OgXact		copy = *xact;
	ListCell   *cell;

	copy.outcome = OG_UNHEARD;
	copy.rows = copy.failures = NIL;
	foreach(cell, xact->rows)
	{
		OgRow	   *row = lfirst(cell);

		if (row->state == OG_ROW_LIVE)
			copy.rows = lappend(copy.rows, row);
	}
	og_attempts_write(&copy);
}

/*
 * og_unheard_note
 *		After og_attempts_write(), for any transaction that has ended.
 */
void
og_unheard_note(OgXact *xact)
{
	if (xact->outcome == OG_COMMITTED && xact->after &&
		xact->after->kind == OG_AFTER_UNHEARD)
	{
		if (xact->consumed)
			xact->consumed->after = xact->after;
		write_unheard(xact->consumed ? xact->consumed : xact);
	}
	else if (xact->outcome == OG_COMMITTED && died_in_commit(xact))
		write_unheard(xact);
	else if (xact->consumed && xact->after->kind == OG_AFTER_SILENT)
		note_silent(xact);
}
