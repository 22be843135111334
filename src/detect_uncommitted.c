/*
 * detect_uncommitted.c
 *		Open transactions that hold orders for too long.
 *
 * Runs in the worker.  What is open is found by order_guard._find_uncommitted(),
 * which joins the journal with pg_stat_activity and the locks.
 */
#include "postgres.h"

#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "detect.h"
#include "incident.h"
#include "open.h"
#include "query.h"

static OgPlan find_plan = {
	"SELECT watch, relation, hash, severity, status, amount::text, customer, "
	"count, since, summary, evidence::text "
	"FROM order_guard._find_uncommitted()", NULL
};

/*
 * og_detect_read_found
 *		An incident about a transaction, from a row of the query above.
 */
OgIncident
og_detect_read_found(const char *kind, int row)
{
	OgIncident	incident = {.kind = kind};

	incident.watch = DatumGetInt32(og_query_datum(row, 0));
	incident.relation = DatumGetObjectId(og_query_datum(row, 1));
	memcpy(incident.hash, DatumGetUUIDP(og_query_datum(row, 2))->data, 16);
	incident.severity = og_query_text(row, 3);
	incident.status = og_query_text(row, 4);
	incident.amount = og_query_text(row, 5);
	incident.customer = og_query_text(row, 6);
	incident.count = DatumGetInt64(og_query_datum(row, 7));
	incident.since = DatumGetTimestampTz(og_query_datum(row, 8));
	incident.summary = og_query_text(row, 9);
	incident.evidence = og_query_text(row, 10);
	incident.may_storm = true;
	return incident;
}

/*
 * og_detect_uncommitted
 *		Reports what is open too long and clears what has ended.
 */
void
og_detect_uncommitted(void)
{
	OgIncident *found;
	unsigned char (*hash)[16];
	int			n;

	og_query_run(&find_plan, 0, NULL, NULL, NULL);
	n = (int) SPI_processed;
	found = palloc((n + 1) * sizeof(OgIncident));
	hash = palloc((n + 1) * 16);
	for (int i = 0; i < n; i++)
	{
		found[i] = og_detect_read_found("uncommitted", i);
		memcpy(hash[i], found[i].hash, 16);
	}
	for (int i = 0; i < n; i++)
		og_incident_open(&found[i]);
	og_open_clear_others("uncommitted", hash, n, "the transaction has ended");
}
