/*
 * detect_prepared.c
 *		Prepared transactions that hold orders for too long.
 *
 * Runs in the worker.  What they hold stands in order_guard.attempt, so it is
 * known after a restart, too; which of them are over their threshold is found
 * by order_guard._find_prepared().
 */
#include "postgres.h"

#include "access/twophase.h"
#include "utils/uuid.h"

#include "detect.h"
#include "incident.h"
#include "open.h"
#include "query.h"

static OgPlan find_plan = {
	"SELECT watch, relation, hash, severity, status, amount::text, customer, "
	"count, since, summary, evidence::text "
	"FROM order_guard._find_prepared()", NULL
};

/* What became of those that are finished; a copy may have other ids. */
static OgPlan finished_plan = {
	"SELECT i.watch, i.hash, 'the prepared transaction was ' || "
	"CASE CASE WHEN x.xid < pg_snapshot_xmax(pg_current_snapshot()) "
	"THEN pg_xact_status(x.xid) END WHEN 'committed' THEN 'committed' "
	"WHEN 'aborted' THEN 'rolled back' ELSE 'finished' END "
	"FROM order_guard.incident i "
	"CROSS JOIN LATERAL (SELECT (i.evidence ->> 'xid')::xid8) x (xid) "
	"WHERE i.kind = 'prepared' AND i.state = 'open' AND NOT EXISTS (SELECT "
	"FROM pg_prepared_xacts p WHERE p.transaction = x.xid::xid "
	"AND p.gid = i.evidence ->> 'gid')", NULL
};

static void
clear_finished(void)
{
	SPITupleTable *result;
	uint64		n;

	og_query_run(&finished_plan, 0, NULL, NULL, NULL);
	result = SPI_tuptable;
	n = SPI_processed;
	for (uint64 row = 0; row < n; row++)
	{
		SPI_tuptable = result;
		og_incident_clear(DatumGetInt32(og_query_datum(row, 0)), "prepared",
						  DatumGetUUIDP(og_query_datum(row, 1))->data,
						  og_query_text(row, 2));
	}
}

/*
 * og_detect_prepared
 *		Reports what is prepared for too long and clears what is finished, by
 *		whomever.
 */
void
og_detect_prepared(void)
{
	OgIncident *found;
	int			n;

	if (og_open_has_kind("prepared"))
		clear_finished();
	if (max_prepared_xacts == 0)
		return;
	og_query_run(&find_plan, 0, NULL, NULL, NULL);
	n = (int) SPI_processed;
	found = palloc((n + 1) * sizeof(OgIncident));
	for (int i = 0; i < n; i++)
		found[i] = og_detect_read_found("prepared", i);
	for (int i = 0; i < n; i++)
		og_incident_open(&found[i]);
}
