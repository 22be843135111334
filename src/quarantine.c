/*
 * quarantine.c
 *		Transactions of the journal whose effects cannot be written.
 *
 * Runs in the worker.  One record that raises an error must not keep the whole
 * database's journal from being read for ever.  So when a drain has failed,
 * it is done again with each transaction in a sub-transaction of its own.
 * What fails then is left out: a warning says so, and its watches are swept,
 * as their tables are the truth.  What it says of rows that did not commit is
 * lost.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/resowner.h"

#include "attempts.h"
#include "loss.h"
#include "quarantine.h"
#include "query.h"
#include "tracker.h"
#include "watch.h"

static bool
is_of_a_record(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return false;
		default:
			return true;
	}
}

/*
 * og_quarantine_may_help
 *		In PG_CATCH: can one transaction of the journal have made this error?
 *		Not a lack of memory or space, a lock, a shutdown.
 */
bool
og_quarantine_may_help(void)
{
	return is_of_a_record(geterrcode());
}

static List *
add_watch(List *watches, uint32 id, Oid relation)
{
	OgWatch    *watch = og_watch_find(id);

	if (watch && og_watch_counts(watch, relation))
		return list_append_unique_int(watches, watch->id);
	return watches;
}

/* Has the watches that it speaks of read anew. */
static void
request_sweeps(OgXact *xact)
{
	List	   *watches = NIL;
	ListCell   *cell;

	foreach(cell, xact->rows)
	{
		OgRowRecord *record = ((OgRow *) lfirst(cell))->record;

		watches = add_watch(watches, record->watch, record->relation);
	}
	foreach(cell, xact->bulk)
	{
		OgBulkRecord *bulk = lfirst(cell);

		watches = add_watch(watches, bulk->watch, bulk->relation);
	}
	foreach(cell, watches)
		og_loss_note(lfirst_int(cell), "journal_lost",
					 "a record could not be read");
}

/* Leaves a transaction out; what is in memory comes from the tables again. */
static void
skip(OgXact *xact, const ErrorData *edata)
{
	ereport(WARNING,
			(errcode(edata->sqlerrcode),
			 errmsg("order_guard: a transaction in the journal could not be read: %s",
					edata->message),
			 errdetail("SQLSTATE %s, process %d, transaction %u of its session.",
					   unpack_sql_state(edata->sqlerrcode),
					   xact->session->pid, (uint32) xact->key.xact),
			 errhint("It is left out, and the tables that it changed are swept.")));
	og_tracker_load();
	og_attempts_load();
	request_sweeps(xact);
}

/*
 * og_quarantine_try
 *		Applies a transaction of the journal in a sub-transaction; false if it
 *		was left out.  What it did to the tracker is saved with it.  SPI is
 *		connected.  Throws what no record has made.
 */
bool
og_quarantine_try(void (*apply) (OgXact *), OgXact *xact)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		apply(xact);
		og_tracker_save();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		if (!og_quarantine_may_help())
			PG_RE_THROW();
		error = og_query_undo(context, resources);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resources;
	if (error)
		skip(xact, error);
	return error == NULL;
}
