/*
 * loss.c
 *		The times at which not all may have been noted.
 *
 * Runs in the worker.  What committed is found by a sweep, whatever was lost.
 * What did not commit has no other witness: of an order without any trace
 * outcome() can say that it never came only if nothing was lost meanwhile, for
 * as long as attempts are kept.
 *
 * A loss is noticed when the journal is read.  It came after the reading
 * before that, whose time is kept with the position.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "loss.h"
#include "query.h"
#include "watch.h"

static TimestampTz reading = 0; /* the one that is under way */
static TimestampTz last_reading = 0;	/* the one before */

void
og_loss_begin_reading(void)
{
	reading = GetCurrentTimestamp();
}

void
og_loss_end_reading(void)
{
	last_reading = reading;
}

TimestampTz
og_loss_reading(void)
{
	return reading;
}

void
og_loss_restore(TimestampTz at)
{
	last_reading = Max(last_reading, at);
}

/*
 * og_loss_note
 *		See loss.h.  Where nobody had read before, nothing can be lost.
 */
void
og_loss_note(int watch, const char *because, const char *reason)
{
	static OgPlan plan = {
		"WITH same AS (UPDATE order_guard.loss SET until = clock_timestamp() "
		"WHERE watch = $4 AND because = $1 AND reason = $2 AND until >= $3 "
		"RETURNING 1) INSERT INTO order_guard.loss "
		"SELECT $4, $3, clock_timestamp(), $1, $2 "
		"WHERE NOT EXISTS (SELECT FROM same)", NULL
	};
	Oid			types[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID, INT4OID};
	Datum		values[] = {
		CStringGetTextDatum(because), CStringGetTextDatum(reason),
		TimestampTzGetDatum(last_reading), Int32GetDatum(watch)
	};

	if (last_reading != 0)
		og_query_run(&plan, 4, types, values, NULL);
	og_watch_request_sweep(watch, reason);
}

/*
 * og_loss_note_coverage
 *		A gap in what the triggers see has been closed.  It was noticed ten
 *		seconds after it began at the latest.
 */
void
og_loss_note_coverage(int watch)
{
	static OgPlan plan = {
		"INSERT INTO order_guard.loss SELECT $1, coalesce(min(opened_at), "
		"now()) - interval '10 s', clock_timestamp(), 'coverage_gap', "
		"'its triggers were off' FROM order_guard.incident "
		"WHERE watch = $1 AND kind = 'coverage' AND state = 'open'", NULL
	};
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(watch)};

	og_query_run(&plan, 1, types, values, NULL);
}

/*
 * og_loss_retain
 *		Losses are kept as long as attempts, in seconds; 0: for ever.  Past a
 *		limit the older ones are told as one.
 */
void
og_loss_retain(int seconds)
{
	static OgPlan forget = {
		"DELETE FROM order_guard.loss WHERE $1 > 0 "
		"AND until < now() - make_interval(secs => $1)", NULL
	};
	static OgPlan join = {
		"WITH old AS (DELETE FROM order_guard.loss WHERE until < (SELECT until "
		"FROM order_guard.loss ORDER BY until DESC OFFSET 1000 LIMIT 1) "
		"RETURNING *) INSERT INTO order_guard.loss SELECT watch, min(since), "
		"max(until), because, 'several times' FROM old "
		"GROUP BY watch, because", NULL
	};
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(seconds)};

	og_query_run(&forget, 1, types, values, NULL);
	og_query_run(&join, 0, NULL, NULL, NULL);
}
