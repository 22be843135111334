/*
 * position.c
 *		How far the journal has been consumed.
 *
 * Runs in the worker.  One row, written in the transaction of the effects of
 * what was read: after a crash nothing is written twice.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "journal.h"
#include "loss.h"
#include "position.h"
#include "query.h"

/*
 * The row says in which incarnation this journal has been seen last.  There
 * is a sweep if it is another journal, or if the server ran without one
 * since.
 */
static void
note_journal(void)
{
	static OgPlan replace = {
		"WITH gone AS (DELETE FROM order_guard.position WHERE nonce <> $1), "
		"old AS (SELECT incarnation FROM order_guard.position "
		"WHERE nonce = $1), "
		"new AS (INSERT INTO order_guard.position (nonce, incarnation, at) "
		"VALUES ($1, $2, clock_timestamp()) "
		"ON CONFLICT (nonce) DO UPDATE SET incarnation = $2) "
		"SELECT max(p.at), (SELECT incarnation FROM old) "
		"FROM order_guard.position p", NULL
	};
	Oid			types[] = {INT8OID, INT4OID};
	Datum		values[] = {
		Int64GetDatum((int64) og_journal_nonce()),
		Int32GetDatum((int32) og_journal_incarnation())
	};

	og_query_run(&replace, 2, types, values, NULL);
	if (!og_query_null(0, 0))
		og_loss_restore(DatumGetTimestampTz(og_query_datum(0, 0)));
	if (og_query_null(0, 1))
		og_loss_note(0, "journal_lost", "journal new");
	else if ((uint32) DatumGetInt32(og_query_datum(0, 1)) < og_journal_gap())
		og_loss_note(0, "coverage_gap", "the server ran without order_guard");
}

/*
 * og_position_start
 *		Takes up the position that the last worker left.  SPI is connected.
 */
void
og_position_start(void)
{
	static OgPlan plan = {
		"SELECT u.* FROM order_guard.position p, "
		"unnest(p.leases, p.consumed) u WHERE p.nonce = $1", NULL
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

/*
 * og_position_save
 *		How far each segment that has not been freed will be consumed.
 */
void
og_position_save(OgReading *reading)
{
	static OgPlan plan = {
		"UPDATE order_guard.position SET leases = $2, consumed = $3, at = $4 "
		"WHERE nonce = $1", NULL
	};
	int			n = list_length(reading->segments);
	Datum	   *lease = palloc(n * sizeof(Datum));
	Datum	   *limit = palloc(n * sizeof(Datum));
	Oid			types[] = {INT8OID, INT8ARRAYOID, INT4ARRAYOID,
	TIMESTAMPTZOID};
	Datum		values[4];

	for (int i = 0; i < n; i++)
	{
		OgSegmentCopy *segment = list_nth(reading->segments, i);

		lease[i] = Int64GetDatum((int64) segment->lease);
		limit[i] = Int32GetDatum(segment->limit);
	}
	values[0] = Int64GetDatum((int64) og_journal_nonce());
	values[1] = og_query_array(lease, NULL, n, INT8OID);
	values[2] = og_query_array(limit, NULL, n, INT4OID);
	values[3] = TimestampTzGetDatum(og_loss_reading());
	og_query_run(&plan, 4, types, values, NULL);
}
