/*
 * detect_duplicate.c
 *		Orders that were placed under a token under which another transaction
 *		had placed one, where the watch lets that pass.
 *
 * Runs in the worker.  The guard has marked their rows of
 * order_guard.token_use; once told, they are marked no longer.
 */
#include "postgres.h"

#include "utils/uuid.h"

#include "detect.h"
#include "incident.h"
#include "query.h"

static OgPlan plan = {
	"WITH told AS (UPDATE order_guard.token_use SET reused = false "
	"WHERE ctid = ANY (ARRAY(SELECT ctid FROM order_guard.token_use "
	"WHERE reused LIMIT 1000 FOR UPDATE SKIP LOCKED)) RETURNING *) "
	"SELECT u.watch, w.relation::oid, u.key, u.hash, "
	"format('order %s of %s was placed under token \"%s\", under which %s "
	"been placed already', u.key, w.relation, u.token, f.others), "
	"jsonb_build_object('token', u.token, 'xid', u.xid::text, 'at', u.at, "
	"'orders', f.orders)::text "
	"FROM told u JOIN order_guard.watch w ON w.id = u.watch "
	"CROSS JOIN LATERAL (SELECT jsonb_agg(jsonb_build_object('key', o.key, "
	"'relation', v.relation, 'at', o.at, 'same', o.content = u.content) "
	"ORDER BY o.at) AS orders, CASE count(*) WHEN 1 THEN 'another one has' "
	"ELSE 'others have' END AS others FROM order_guard.token_use o "
	"LEFT JOIN order_guard.watch v ON v.id = o.watch "
	"WHERE o.token = u.token AND o.xid <> u.xid) f", NULL
};

/*
 * og_detect_duplicates
 *		In a transaction of the tick.
 */
void
og_detect_duplicates(void)
{
	og_query_run(&plan, 0, NULL, NULL, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		OgIncident	incident = {0};

		incident.kind = "duplicate";
		incident.watch = DatumGetInt32(og_query_datum(row, 0));
		incident.relation = DatumGetObjectId(og_query_datum(row, 1));
		incident.key = og_query_text(row, 2);
		memcpy(incident.hash, DatumGetUUIDP(og_query_datum(row, 3))->data,
			   sizeof(incident.hash));
		incident.count = 1;
		incident.summary = og_query_text(row, 4);
		incident.evidence = og_query_text(row, 5);
		incident.may_storm = true;
		og_incident_open(&incident);
	}
}
