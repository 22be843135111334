/*
 * attempts.c
 *		What did not simply commit, as rows of order_guard.attempt.
 *
 * Runs in the worker, in the transaction that drains the journal.  One row
 * for each order a transaction failed to change; one for each statement that
 * failed without any order being known, and one for rows past the limit.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "attempts.h"
#include "query.h"
#include "reason.h"
#include "settings.h"
#include "watch.h"

#define COLUMNS 29

/* One attempt, before it is written; strings may be NULL. */
typedef struct Draft
{
	int			watch;
	Oid			relation;
	char		operation;
	bool		refused;
	OgRowRecord *first;			/* of this order; NULL: no order is known */
	OgRowRecord *last;
	OgEndRecord *end;			/* what undid it; NULL: nothing in the journal */
	uint64		xid;
	int64		rows;
} Draft;

typedef struct DraftEntry
{
	struct
	{
		int32		watch;
		uint8		hash[16];
	}			key;
	bool		live;			/* the order came through after all */
	Draft		draft;
} DraftEntry;

/* Sessions with an insert that failed and is not judged yet. */
typedef struct Pending
{
	uint64		session;
	uint64		watch;
} Pending;

static HTAB *pending = NULL;

static void
add_pending(uint64 session, int watch)
{
	Pending		key = {session, watch};

	hash_search(pending, &key, HASH_ENTER, NULL);
}

/*
 * og_attempts_load
 *		Takes up what an earlier worker left.  SPI is connected.
 */
void
og_attempts_load(void)
{
	static OgPlan plan = {
		"SELECT DISTINCT session, watch FROM order_guard.attempt "
		"WHERE judge_at IS NOT NULL", NULL
	};
	HASHCTL		control = {0};

	control.keysize = sizeof(Pending);
	control.entrysize = sizeof(Pending);
	control.hcxt = TopMemoryContext;
	if (pending)
		hash_destroy(pending);
	pending = hash_create("order_guard pending sessions", 64, &control,
						  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	og_query_run(&plan, 0, NULL, NULL, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
		add_pending((uint64) DatumGetInt64(og_query_datum(row, 0)),
					DatumGetInt32(og_query_datum(row, 1)));
}

/* An insert that commits is the retry of what its session lost before. */
static void
note_retry(uint64 session, int watch)
{
	static OgPlan plan = {
		"UPDATE order_guard.attempt SET judge_at = NULL, verdict = 'replaced' "
		"WHERE session = $1 AND watch = $2 AND operation IN ('I', '?') "
		"AND judge_at IS NOT NULL", NULL
	};
	Pending		key = {session, watch};
	Oid			types[] = {INT8OID, INT4OID};
	Datum		values[] = {Int64GetDatum((int64) session),
	Int32GetDatum(watch)};

	if (hash_get_num_entries(pending) == 0 ||
		hash_search(pending, &key, HASH_FIND, NULL) == NULL)
		return;
	og_query_run(&plan, 2, types, values, NULL);
	hash_search(pending, &key, HASH_REMOVE, NULL);
}

static void
set(Datum *values, char *nulls, int column, Datum value)
{
	values[column] = value;
	nulls[column] = ' ';
}

static void
set_text(Datum *values, char *nulls, int column, const char *text)
{
	if (text && text[0])
		set(values, nulls, column, CStringGetTextDatum(text));
}

static void
set_order(Datum *values, char *nulls, const Draft *draft)
{
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));
	OgRowRecord *last = draft->last;

	memcpy(uuid->data, draft->first->hash, UUID_LEN);
	set_text(values, nulls, 2, og_reader_key(draft->first));
	set(values, nulls, 3, UUIDPGetDatum(uuid));
	set_text(values, nulls, 6, og_reader_value(draft->first,
											   OG_VALUE_OLD_STATUS));
	set_text(values, nulls, 7, og_reader_value(last, OG_VALUE_NEW_STATUS));
	set_text(values, nulls, 13, og_reader_value(last, OG_VALUE_TOKEN));
	set_text(values, nulls, 14, og_reader_value(last, OG_VALUE_AMOUNT));
	set_text(values, nulls, 15, og_reader_value(last, OG_VALUE_CUSTOMER));
}

/* Of what committed, but its client may not know. */
static void
set_unheard(Datum *values, char *nulls, const OgXact *xact)
{
	uint8		cause = xact->after ? xact->after->cause : OG_CAUSE_CRASH;

	set_text(values, nulls, 8, "unacknowledged");
	set_text(values, nulls, 9, og_reason_cause(cause));
	set_text(values, nulls, 11, og_reason_unheard(cause));
	if (xact->end)
		set(values, nulls, 25, TimestampTzGetDatum(xact->end->at));
}

/* What a sub-transaction took back is gone, whatever becomes of the rest. */
static OgOutcome
outcome_of(const OgXact *xact, const Draft *draft)
{
	return draft->end && draft->end->head.type == OG_REC_SUBABORT ?
		OG_ROLLED_BACK : xact->outcome;
}

static void
set_end(Datum *values, char *nulls, const OgXact *xact, const Draft *draft)
{
	OgOutcome	outcome = outcome_of(xact, draft);
	OgError		lost = {0};
	const OgError *error = draft->end ? &draft->end->error : &lost;
	TimestampTz at = draft->end ? draft->end->at : 0;

	if (xact->session->incarnation != og_journal_incarnation())
		lost.cause = OG_CAUSE_CRASH;
	if (outcome == OG_PREPARED)
		set_text(values, nulls, 8, "prepared");
	else if (outcome == OG_UNKNOWN)
		set_text(values, nulls, 8, "unknown");
	else
		set_text(values, nulls, 8, "rolled_back");
	if (outcome == OG_PREPARED && xact->end)
	{
		set_text(values, nulls, 18, xact->end->gid);
		set(values, nulls, 28,
			Int32GetDatum(xact->end->prepared_threshold));
	}
	else if (outcome != OG_PREPARED)
	{
		set_text(values, nulls, 9, og_reason_cause(error->cause));
		if (error->sqlstate)
			set_text(values, nulls, 10, unpack_sql_state(error->sqlstate));
		set_text(values, nulls, 11, draft->end == NULL && xact->end != NULL ?
				 "its COMMIT was not on disk when the server crashed" :
				 og_reason_text(error));
		set_text(values, nulls, 12, error->constraint);
	}
	if (at != 0)
		set(values, nulls, 25, TimestampTzGetDatum(at));
}

static void
set_session(Datum *values, char *nulls, const OgXact *xact)
{
	OgSessionRecord *session = xact->session;

	set(values, nulls, 19, Int64GetDatum((int64) session->session));
	set(values, nulls, 20, Int32GetDatum(session->pid));
	set_text(values, nulls, 21, GetUserNameFromId(session->role, true));
	set_text(values, nulls, 22, session->application);
	set_text(values, nulls, 23, session->address);
	if (xact->begin)
		set(values, nulls, 24, TimestampTzGetDatum(xact->begin->start));
}

static const Oid column_type[COLUMNS] = {
	INT4OID, OIDOID, TEXTOID, UUIDOID, TEXTOID, BOOLOID, TEXTOID, TEXTOID,
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	INT8OID, XID8OID, TEXTOID, INT8OID, INT4OID, TEXTOID, TEXTOID, TEXTOID,
	TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT4OID
};

static OgPlan insert_plan = {
	"INSERT INTO order_guard.attempt (watch, relation, key, hash, operation, "
	"refused, old_status, new_status, outcome, cause, sqlstate, reason, "
	"constraint_name, token, amount, customer, rows, xid, gid, session, pid, "
	"usename, application_name, client_addr, started_at, ended_at, judge_at, "
	"xact, threshold) VALUES ($1, $2, $3, $4, $5::\"char\", $6, $7, $8, $9, "
	"$10, $11, $12, $13, $14, CASE WHEN pg_catalog.length($15) < 200 THEN $15::numeric "
	"END, $16, $17, $18, $19, $20, $21, $22::name, $23, "
	"$24::inet, $25, coalesce($26, clock_timestamp()), $27, $28, $29)", NULL
};

/* When it is to be judged whether the order has vanished; 0: never. */
static TimestampTz
judge_at(const OgXact *xact, const OgWatch *watch, const Draft *draft)
{
	TimestampTz end = draft->end ? draft->end->at : GetCurrentTimestamp();

	if (watch && xact->outcome == OG_UNHEARD)
		return GetCurrentTimestamp();
	/* What replaces a row that was rolled back may be prepared with it. */
	if (watch == NULL || watch->vanished == OG_VANISHED_OFF ||
		xact->outcome == OG_PREPARED)
		return 0;
	return end + (int64) og_vanish_grace * 1000;
}

static void
write_draft(OgXact *xact, const Draft *draft)
{
	Datum		values[COLUMNS] = {0};
	char		nulls[COLUMNS];
	char		operation[2] = {draft->operation, '\0'};
	OgWatch    *watch = og_watch_find(draft->watch);
	TimestampTz judge = judge_at(xact, watch, draft);

	if (watch == NULL || (draft->end && draft->end->at < watch->created) ||
		(OidIsValid(draft->relation) &&
		 !og_watch_covers(watch, draft->relation)))
		return;
	memset(nulls, 'n', sizeof(nulls));
	set(values, nulls, 0, Int32GetDatum(draft->watch));
	set(values, nulls, 1, ObjectIdGetDatum(watch->relation));
	set_text(values, nulls, 4, operation);
	set(values, nulls, 5, BoolGetDatum(draft->refused));
	if (draft->last)
		set_order(values, nulls, draft);
	set(values, nulls, 16, Int64GetDatum(draft->rows));
	if (draft->xid)
		set(values, nulls, 17, UInt64GetDatum(draft->xid));
	if (xact->outcome == OG_UNHEARD)
		set_unheard(values, nulls, xact);
	else
		set_end(values, nulls, xact, draft);
	set_session(values, nulls, xact);
	set(values, nulls, 27, Int64GetDatum((int64) xact->key.xact));
	if (judge)
		set(values, nulls, 26, TimestampTzGetDatum(judge));
	if (judge && xact->outcome != OG_UNHEARD &&
		(draft->operation == 'I' || draft->operation == '?'))
		add_pending(xact->key.session, draft->watch);
	og_query_run(&insert_plan, COLUMNS, column_type, values, nulls);
}

/* Has this row come to nothing, or is that not known? */
static bool
is_undone(const OgXact *xact, const OgRow *row)
{
	if (row->state == OG_ROW_UNDONE || row->state == OG_ROW_REFUSED)
		return true;
	if (xact->outcome == OG_COMMITTED || row->state == OG_ROW_VOID)
		return false;
	return row->state == OG_ROW_LIVE || xact->end == NULL;
}

/* What ended it, unless it was a commit that did not come true. */
static OgEndRecord *
end_of(const OgXact *xact)
{
	return xact->outcome == OG_ROLLED_BACK || xact->outcome == OG_PREPARED ||
		xact->outcome == OG_UNHEARD ? xact->end : NULL;
}

static void
collect_row(HTAB *drafts, OgXact *xact, OgRow *row)
{
	DraftEntry	probe = {0};
	DraftEntry *entry;
	OgRowRecord *record = row->record;
	bool		found;

	if (record->operation == 'T' || row->state == OG_ROW_VOID || row->arrived)
		return;
	probe.key.watch = record->watch;
	memcpy(probe.key.hash, record->hash, 16);
	entry = hash_search(drafts, &probe.key, HASH_ENTER, &found);
	if (!found)
	{
		memset(&entry->draft, 0, sizeof(entry->draft));
		entry->live = false;
		entry->draft.first = record;
		entry->draft.operation = record->operation;
		entry->draft.watch = record->watch;
		entry->draft.relation = record->relation;
		entry->draft.rows = 1;
	}
	/* A row that goes and comes again, perhaps to another partition. */
	if (entry->draft.operation == 'D' &&
		(record->operation == 'I' || row->moved_to))
		entry->draft.operation = 'U';
	/* One that comes and goes was not to stay. */
	if (!is_undone(xact, row) ||
		(entry->draft.operation == 'I' && record->operation == 'D'))
		entry->live = true;
	entry->draft.last = row->moved_to ? row->moved_to->record : record;
	entry->draft.end = row->end ? row->end : end_of(xact);
	entry->draft.refused = row->state == OG_ROW_REFUSED ||
		row->state == OG_ROW_WAITING;
	/* An INSERT may have been noted before there was an id. */
	entry->draft.xid = row->xid ? row->xid : xact->end ? xact->end->xid : 0;
}

static void
write_orders(OgXact *xact)
{
	HASHCTL		control = {0};
	HASH_SEQ_STATUS scan;
	DraftEntry *entry;
	HTAB	   *drafts;
	ListCell   *cell;

	control.keysize = sizeof(entry->key);
	control.entrysize = sizeof(DraftEntry);
	control.hcxt = CurrentMemoryContext;
	drafts = hash_create("order_guard drafts", 32, &control,
						 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	foreach(cell, xact->rows)
		collect_row(drafts, xact, lfirst(cell));
	hash_seq_init(&scan, drafts);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (!entry->live)
			write_draft(xact, &entry->draft);
	hash_destroy(drafts);
}

static void
note_retries(OgXact *xact)
{
	ListCell   *cell;
	uint32		last = 0;

	foreach(cell, xact->rows)
	{
		OgRow	   *row = lfirst(cell);

		if (row->state != OG_ROW_LIVE || row->record->operation != 'I' ||
			row->record->watch == last)
			continue;
		last = row->record->watch;
		note_retry(xact->key.session, last);
	}
}

/*
 * og_attempts_write
 *		Writes what a transaction that has ended did not bring about.
 */
void
og_attempts_write(OgXact *xact)
{
	ListCell   *cell;
	bool		any = xact->outcome != OG_COMMITTED;

	foreach(cell, xact->rows)
		any |= is_undone(xact, lfirst(cell));
	if (any)
		write_orders(xact);
	foreach(cell, xact->failures)
	{
		OgEndRecord *end = lfirst(cell);
		Draft		draft = {end->error.watch, end->error.relation, '?', true};

		draft.end = end;
		draft.rows = 1;
		write_draft(xact, &draft);
	}
	if (xact->outcome != OG_COMMITTED)
		foreach(cell, xact->bulk)
	{
		OgBulkRecord *bulk = lfirst(cell);
		Draft		draft = {bulk->watch, InvalidOid, '?'};
		OgWatch    *watch = og_watch_find(bulk->watch);

		if (watch == NULL || !og_watch_counts(watch, bulk->relation))
			continue;
		draft.end = end_of(xact);
		draft.rows = pg_atomic_read_u64(&bulk->rows);
		draft.xid = bulk->xid;
		write_draft(xact, &draft);
	}
	if (xact->outcome == OG_COMMITTED)
		note_retries(xact);
}
