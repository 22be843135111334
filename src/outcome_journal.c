/*
 * outcome_journal.c
 *		What the journal knows of one order: open work, and what has ended a
 *		moment ago and the worker has not recorded yet.
 *
 * Runs in whoever asks for an outcome, reads copies of the journal.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/partition.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/wait_event.h"

#include "bulk.h"
#include "outcome_private.h"
#include "reason.h"
#include "verdict.h"
#include "views.h"

/* What says more about an order than something else does. */
enum
{
	RANK_ENDED = 1,
	RANK_UNDECIDED,
	RANK_PREPARED,
	RANK_OPEN
};

/* Anybody can make a trigger that names somebody else's watch. */
static bool
covers(const OgOrder *order, Oid relation)
{
	return relation == order->relation ||
		(get_rel_relispartition(relation) &&
		 list_member_oid(get_partition_ancestors(relation), order->relation));
}

/* The rows of one order in one transaction, put together. */
typedef struct Work
{
	const OgXact *xact;
	PGPROC	   *proc;			/* who works on it now; NULL: nobody */
	OgOutcome	outcome;		/* OG_OPEN: not ended, or not known */
	OgRow	   *first;			/* live */
	OgRow	   *last;
	OgRow	   *undone;			/* the last one that came to nothing */
} Work;

static void
collect_rows(const OgOrder *order, Work *work)
{
	bool		waits = work->proc && !og_views_idle(work->proc);
	ListCell   *cell;

	foreach(cell, work->xact->rows)
	{
		OgRow	   *row = lfirst(cell);

		if (!og_journal_wants(&order->wanted, &row->record->head,
							  row->record->head.length) ||
			!covers(order, row->record->relation))
			continue;
		if (row->state == OG_ROW_LIVE ||
			(row->state == OG_ROW_WAITING && waits))
		{
			if (work->first == NULL)
				work->first = row;
			work->last = row;
		}
		else if (row->state != OG_ROW_VOID)
			work->undone = row;
	}
}

static void
describe_row(OgTrace *trace, const Work *work, OgRow *row)
{
	OgRowRecord *record = row->record;

	trace->key = og_reader_key(record);
	trace->status = og_reader_value(record, OG_VALUE_NEW_STATUS);
	if (trace->status == NULL)
		trace->status = og_reader_value(record, OG_VALUE_OLD_STATUS);
	trace->operation = record->operation;
	trace->xid = row->xid;
	if (trace->xid == 0 && work->xact->end)
		trace->xid = work->xact->end->xid;
	trace->pid = work->xact->session->pid;
	trace->xact = work->xact->key;
	trace->basis = "journal";
}

static void
describe_end(OgTrace *trace, const OgEndRecord *end)
{
	trace->at = end->at;
	if (end->outcome == OG_COMMITTED || end->outcome == OG_PREPARED)
		return;
	if (end->error.sqlstate)
		trace->sqlstate = pstrdup(unpack_sql_state(end->error.sqlstate));
	trace->reason = og_reason_text(&end->error);
}

/* By the rule of pg_stat_activity; who blocks whom everybody may know. */
static const char *
describe_lock(int pid)
{
	Datum		blocking = DirectFunctionCall1(pg_blocking_pids,
											   Int32GetDatum(pid));
	ArrayType  *blockers = DatumGetArrayTypeP(blocking);
	int		   *pids = (int *) ARR_DATA_PTR(blockers);
	int			n = ArrayGetNItems(ARR_NDIM(blockers), ARR_DIMS(blockers));
	StringInfoData text;

	if (n == 0)
		return "waits for a lock";
	initStringInfo(&text);
	appendStringInfoString(&text, "waits for a lock held by ");
	for (int i = 0; i < Min(n, 10); i++)
	{
		if (i > 0)
			appendStringInfoString(&text, ", ");
		if (pids[i] == 0)
			appendStringInfoString(&text, "a prepared transaction");
		else
			appendStringInfo(&text, "process %d", pids[i]);
	}
	return text.data;
}

/* What a backend does; NULL if the caller may not know. */
static const char *
describe_backend(const PGPROC *proc, int pid, Oid role)
{
	uint32		event = *(volatile const uint32 *) &proc->wait_event_info;

	if (og_views_waits(proc))
		return describe_lock(pid);
	if (!has_privs_of_role(GetUserId(), role) &&
		!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS))
		return NULL;
	if (event == 0)
		return "its transaction is at work";
	if (event == WAIT_EVENT_CLIENT_READ)
		return "its transaction is idle and waits for its client";
	if (event == WAIT_EVENT_SYNC_REP)
		return "its COMMIT waits for a synchronous standby";
	return psprintf("its transaction waits for %s (%s)",
					pgstat_get_wait_event(event),
					pgstat_get_wait_event_type(event));
}

static void
describe_open(OgTrace *trace, const Work *work)
{
	char		operation =
		og_views_net_operation(work->first->record->operation,
							   work->last->record->operation);

	if (operation == '\0')
		return;
	describe_row(trace, work, work->last);
	trace->operation = operation;
	trace->outcome = "in_flight";
	trace->at = work->last->record->at;
	trace->rank = RANK_OPEN;
	trace->reason = describe_backend(work->proc, trace->pid,
									 work->xact->session->role);
}

/* It came to nothing when the server crashed. */
static void
describe_lost(OgTrace *trace, const Work *work)
{
	OgError		crash = {.cause = OG_CAUSE_CRASH};

	trace->outcome = "rolled_back";
	trace->final = true;
	trace->reason = work->xact->end ?
		"its COMMIT was not on disk when the server crashed" :
		og_reason_text(&crash);
	if (work->xact->end)
		trace->at = work->xact->end->at;
}

/* Rows that are not undone, of a transaction that is not open. */
static void
describe_ended(OgTrace *trace, const Work *work)
{
	describe_row(trace, work, work->last);
	trace->operation =
		og_views_net_operation(work->first->record->operation,
							   work->last->record->operation);
	trace->rank = RANK_ENDED;
	switch (work->outcome)
	{
		case OG_COMMITTED:
			trace->outcome = "committed";
			if (work->xact->end)
			{
				trace->at = work->xact->end->at;
				trace->lsn = work->xact->end->lsn;
			}
			break;
		case OG_PREPARED:
			trace->outcome = "prepared";
			trace->rank = RANK_PREPARED;
			trace->at = work->xact->end->at;
			trace->gid = work->xact->end->gid;
			break;
		case OG_LOST:
		case OG_ROLLED_BACK:
			describe_lost(trace, work);
			break;
		default:
			trace->outcome = "unknown";
			trace->because = work->outcome == OG_UNKNOWN ?
				"journal_lost" : "not_judged_yet";
			trace->rank = RANK_UNDECIDED;
			break;
	}
}

/* What was refused or rolled back, perhaps in an open transaction. */
static void
describe_undone(OgTrace *trace, const Work *work)
{
	const OgEndRecord *end = work->undone->end ?
		work->undone->end : work->xact->end;

	describe_row(trace, work, work->undone);
	trace->outcome = "rolled_back";
	trace->rank = RANK_ENDED;
	trace->final = work->xact->end != NULL;
	if (end)
		describe_end(trace, end);
}

/* Does this say more, or something later, than what is known? */
static bool
is_better(const OgTrace *trace, const OgTrace *known)
{
	if (trace->outcome == NULL)
		return false;
	if (known->outcome == NULL || trace->rank != known->rank)
		return known->outcome == NULL || trace->rank > known->rank;
	if (trace->at != known->at)
		return trace->at > known->at;
	return trace->operation == 'I' || known->operation != 'I';
}

/* Who is at work in a transaction now; NULL: it has ended, or nobody knows. */
static PGPROC *
find_worker(const OgXact *xact)
{
	if (xact->end != NULL || !xact->newest)
		return NULL;
	return og_views_backend(xact->session);
}

static void
look_at_rows(const OgOrder *order, const OgXact *xact, OgTrace *trace)
{
	Work		work = {xact, find_worker(xact)};
	OgTrace		found = {0};

	collect_rows(order, &work);
	if (work.last == NULL && work.undone == NULL)
		return;
	if (work.last && work.proc)
		describe_open(&found, &work);
	else if (work.last)
	{
		work.outcome = og_verdict(xact);
		describe_ended(&found, &work);
	}
	if (found.outcome == NULL && work.undone)
		describe_undone(&found, &work);
	if (found.at != 0 && found.at < order->created)
		return;
	if (is_better(&found, trace))
		*trace = found;
}

/* Which rows are these?  NULL if nobody knows. */
static const char *
describe_keys(const OgXact *xact, const OgBulkRecord *bulk)
{
	const char *words = og_bulk_keys(bulk);
	OgRow	   *last = xact->rows ? llast(xact->rows) : NULL;
	const char *key;

	if (words || last == NULL || last->record->watch != bulk->watch)
		return words;
	key = og_reader_key(last->record);
	return key ? psprintf("those after key %s", key) : NULL;
}

/*
 * The order may be one of the rows that a transaction has changed after those
 * that are listed one by one.
 */
static void
look_at_bulk(const OgOrder *order, const OgXact *xact, OgTrace *trace)
{
	PGPROC	   *proc = find_worker(xact);
	ListCell   *cell;

	foreach(cell, proc ? xact->bulk : NIL)
	{
		OgBulkRecord *bulk = lfirst(cell);
		const char *keys;

		if (bulk->watch != order->watch ||
			(OidIsValid(bulk->relation) && !covers(order, bulk->relation)))
			continue;
		trace->outcome = "in_flight";
		trace->basis = "bulk";
		trace->pid = xact->session->pid;
		trace->xid = bulk->xid;
		trace->at = xact->begin ? xact->begin->start : 0;
		keys = describe_keys(xact, bulk);
		trace->reason = psprintf("perhaps one of " UINT64_FORMAT " rows that "
								 "the open transaction of process %d changed "
								 "and that are not listed one by one%s%s",
								 pg_atomic_read_u64(&bulk->rows), trace->pid,
								 keys ? ", " : "", keys ? keys : "");
	}
}

/*
 * og_outcome_journal
 *		What the journal knows of an order: what is open, else what is
 *		prepared, else what ended last.
 */
void
og_outcome_journal(const OgOrder *order, OgTrace *trace, OgTrace *bulk)
{
	List	   *segments;
	ListCell   *cell;

	memset(trace, 0, sizeof(*trace));
	memset(bulk, 0, sizeof(*bulk));
	if (!order->visible || !og_journal_ready())
		return;
	segments = og_journal_find(MyDatabaseId, &order->wanted);
	if (segments == NIL)
		return;
	foreach(cell, og_reader_parse(segments)->xacts)
	{
		CHECK_FOR_INTERRUPTS();
		look_at_rows(order, lfirst(cell), trace);
		look_at_bulk(order, lfirst(cell), bulk);
	}
}
