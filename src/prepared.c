/*
 * prepared.c
 *		Prepared transactions that somebody has finished.
 *
 * Runs in the worker, in the transaction that drains the journal.  COMMIT
 * PREPARED and ROLLBACK PREPARED call nobody back, and may come from another
 * session or after a restart.  What a prepared transaction did stands in
 * order_guard.attempt; when it is no longer prepared, the transaction log
 * tells what became of it (its id is never given to another, not even by a
 * crash), and the rows what became of its orders.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/guc.h"
#include "utils/uuid.h"

#include "open.h"
#include "prepared.h"
#include "query.h"
#include "settings.h"
#include "tracker.h"

static OgPlan settle_plan = {
	"WITH finished AS MATERIALIZED (SELECT a.id, "
	"pg_xact_status(a.xid) AS status FROM order_guard.attempt a "
	"WHERE a.outcome = 'prepared' AND NOT EXISTS (SELECT "
	"FROM pg_prepared_xacts p WHERE (a.gid IS NULL OR p.gid = a.gid) "
	"AND (a.xid IS NULL OR p.transaction = a.xid::xid)) LIMIT 10000), "
	/* the server crashed before it was noted */
	"named AS (UPDATE order_guard.attempt a SET gid = p.gid "
	"FROM pg_prepared_xacts p WHERE a.outcome = 'prepared' "
	"AND a.gid IS NULL AND p.transaction = a.xid::xid), "
	"failed AS (UPDATE order_guard.attempt a SET outcome = "
	"CASE f.status WHEN 'aborted' THEN 'rolled_back' ELSE 'unknown' END, "
	"cause = 'rollback', reason = 'the prepared transaction was rolled back', "
	"ended_at = clock_timestamp(), judge_at = CASE WHEN "
	"w.options ->> 'vanished' IS DISTINCT FROM 'off' "
	"THEN clock_timestamp() + make_interval(secs => $1) END "
	"FROM finished f, order_guard.watch w WHERE a.id = f.id "
	"AND f.status IS DISTINCT FROM 'committed' "
	"AND f.status IS DISTINCT FROM 'in progress' AND w.id = a.watch) "
	"DELETE FROM order_guard.attempt a USING finished f WHERE a.id = f.id "
	"AND f.status = 'committed' "
	"RETURNING a.watch, a.hash, a.key, a.operation::text", NULL
};

static void
take_order(const OgWatch *watch, int row)
{
	uint8	   *hash = DatumGetUUIDP(og_query_datum(row, 1))->data;
	char	   *key = og_query_text(row, 2);
	bool		deleted = og_query_text(row, 3)[0] == 'D';

	if (!deleted)
	{
		og_open_clear(watch->id, "deleted", hash, "the order is there again");
		og_open_clear(watch->id, "vanished", hash, "the order appeared");
	}
	og_tracker_examine(watch, hash, key, !deleted);
}

/*
 * Attempts do not stay prepared for long, so most entries of their index are
 * dead.  An index scan marks those, a bitmap scan meets them again each time.
 */
static void
run_settle_plan(void)
{
	Oid			types[] = {FLOAT8OID};
	Datum		values[] = {Float8GetDatum(og_vanish_grace / 1000.0)};
	int			nest = NewGUCNestLevel();

	set_config_option("enable_bitmapscan", "off", PGC_USERSET, PGC_S_SESSION,
					  GUC_ACTION_SAVE, true, 0, false);
	og_query_run(&settle_plan, 1, types, values, NULL);
	AtEOXact_GUC(true, nest);
}

/*
 * og_prepared_settle
 *		What is no longer prepared has committed or failed.  SPI is connected.
 */
void
og_prepared_settle(void)
{
	SPITupleTable *result;
	uint64		n;

	run_settle_plan();
	result = SPI_tuptable;
	n = SPI_processed;
	for (uint64 row = 0; row < n; row++)
	{
		OgWatch    *watch;

		SPI_tuptable = result;
		watch = og_watch_find(DatumGetInt32(og_query_datum(row, 0)));
		if (watch == NULL)
			continue;
		if (og_query_null(row, 1) || og_query_null(row, 2))
			og_watch_request_sweep(watch->id, "bulk");
		else
			take_order(watch, row);
	}
}
