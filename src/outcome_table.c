/*
 * outcome_table.c
 *		What the tables know of one order: its row, its attempts, and what is
 *		recorded about it.
 *
 * Runs in whoever asks for an outcome; SPI is connected.  All of it is read
 * with a snapshot that is taken here, after the journal was looked at, also
 * in a transaction that has an old one: what has left the journal meanwhile is
 * seen.  The row is read with the rights of the caller, our own tables with
 * those of their owner.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "durable.h"
#include "key.h"
#include "keytext.h"
#include "outcome_private.h"
#include "query.h"
#include "rights.h"
#include "settings.h"
#include "trust.h"
#include "views.h"

/*
 * Runs a statement on our own tables with a new snapshot.  Its plan is made
 * when a table may be small, and kept when it is large: an index is always
 * right.
 */
static void
run_own(OgPlan *plan, int nargs, const Oid *types, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;
	OgRights	saved;
	int			result;

	og_rights_raise(&saved);
	set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION,
					  GUC_ACTION_SAVE, true, 0, false);
	if (plan->plan == NULL)
	{
		plan->plan = SPI_prepare_cursor(plan->sql, nargs, (Oid *) types,
										CURSOR_OPT_GENERIC_PLAN);
		if (plan->plan == NULL)
			elog(ERROR, "could not prepare \"%s\": %s", plan->sql,
				 SPI_result_code_string(SPI_result));
		SPI_keepplan(plan->plan);
	}
	result = SPI_execute_snapshot(plan->plan, values, NULL,
								  GetLatestSnapshot(), InvalidSnapshot, true,
								  false, 1);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\": %s", plan->sql,
			 SPI_result_code_string(result));
	og_rights_restore(&saved);
	MemoryContextSwitchTo(context);
}

/* In the current memory context. */
static char *
column(int number)
{
	return og_query_text(0, number);
}

/* Why not all may be known of a watch's orders. */
static const char *
find_gap(const char *sweep, const char *coverage)
{
	uint32		dropped;

	if ((coverage && strstr(coverage, "journal")) ||
		(sweep && strstr(sweep, "journal")))
		return "journal_lost";
	if (og_journal_unswept(MyDatabaseId, &dropped))
		return "journal_lost";
	if (sweep)
		return "not_swept";
	if (coverage)
		return "coverage_gap";
	return og_enabled ? NULL : "disabled";
}

/*
 * og_outcome_order
 *		What is to be known of the watch of a table; NULL: it has none.
 */
OgOrder *
og_outcome_order(Oid relation)
{
	static OgPlan plan = {
		"SELECT w.id, w.key::text[], w.status, w.created_at, s.sweep, "
		"s.coverage, w.token FROM order_guard.watch w "
		"LEFT JOIN order_guard.watch_state s ON s.watch = w.id "
		"WHERE w.relation = $1::regclass", NULL
	};
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relation)};
	OgOrder    *order;
	char	   *sweep;
	char	   *coverage;

	run_own(&plan, 1, types, values);
	if (SPI_processed == 0)
		return NULL;
	order = palloc0(sizeof(OgOrder));
	order->relation = relation;
	order->watch = DatumGetInt32(og_query_datum(0, 0));
	order->keys = og_query_texts(0, 1);
	order->status = column(2);
	order->created = DatumGetTimestampTz(og_query_datum(0, 3));
	sweep = column(4);
	coverage = column(5);
	order->token = column(6);
	order->gap = find_gap(sweep, coverage);
	order->visible = og_views_may_see(relation);
	return order;
}

static void
read_attempt(OgTrace *trace)
{
	trace->outcome = column(0);
	trace->operation = og_query_text(0, 1)[0];
	trace->key = column(2);
	trace->status = column(3);
	trace->sqlstate = column(4);
	trace->reason = column(5);
	if (!og_query_null(0, 6))
		trace->pid = DatumGetInt32(og_query_datum(0, 6));
	trace->gid = column(7);
	if (!og_query_null(0, 8))
		trace->xid = DatumGetUInt64(og_query_datum(0, 8));
	if (!og_query_null(0, 9))
		trace->at = DatumGetTimestampTz(og_query_datum(0, 9));
	trace->basis = "attempt";
	trace->final = true;
	if (strcmp(trace->outcome, "unknown") == 0)
		trace->because = "journal_lost";
}

#define ATTEMPT_QUERY(condition) \
	"WITH a AS MATERIALIZED (SELECT * FROM order_guard.attempt " \
	"WHERE watch = $1 AND " condition " AND (ended_at < $3) IS NOT TRUE) " \
	"SELECT outcome, operation::text, key, " \
	"coalesce(new_status, old_status), sqlstate, reason, pid, gid, xid, ended_at FROM a " \
	"ORDER BY ended_at DESC NULLS LAST, operation = 'I' DESC, id DESC LIMIT 1"

/*
 * og_outcome_attempt
 *		The last attempt that the worker has recorded.
 */
void
og_outcome_attempt(const OgOrder *order, OgTrace *trace)
{
	static OgPlan by_key = {ATTEMPT_QUERY("hash = $2"), NULL};
	static OgPlan by_token = {ATTEMPT_QUERY("token = $2"), NULL};
	Oid			types[] = {INT4OID, UUIDOID, TIMESTAMPTZOID};
	Datum		values[] = {
		Int32GetDatum(order->watch), (Datum) 0,
		TimestampTzGetDatum(order->created)
	};

	memset(trace, 0, sizeof(*trace));
	if (!order->visible)
		return;
	if (order->by_key)
		values[1] = og_views_hash_datum(order->hash);
	else
	{
		types[1] = TEXTOID;
		values[1] = CStringGetTextDatum(order->token);
	}
	run_own(order->by_key ? &by_key : &by_token, 3, types, values);
	if (SPI_processed > 0)
		read_attempt(trace);
}

/*
 * og_outcome_past
 *		Why an order of which there is no other trace may be unknown: incidents
 *		are kept for longer than attempts.  NULL: there is none.
 */
const char *
og_outcome_past(const OgOrder *order)
{
	static OgPlan plan = {
		"SELECT 'row_gone' FROM order_guard.tracked "
		"WHERE watch = $1 AND hash = $2 UNION ALL "
		"(SELECT CASE kind WHEN 'vanished' THEN 'before_retention' "
		"ELSE 'row_gone' END FROM order_guard.incident "
		"WHERE watch = $1 AND hash = $2 "
		"AND kind IN ('vanished', 'deleted', 'stalled') "
		"ORDER BY opened_at DESC, id DESC LIMIT 1)", NULL
	};
	Oid			types[] = {INT4OID, UUIDOID};
	Datum		values[] = {
		Int32GetDatum(order->watch), og_views_hash_datum(order->hash)
	};

	if (!order->visible || !order->by_key)
		return NULL;
	run_own(&plan, 2, types, values);
	return SPI_processed > 0 ? column(0) : NULL;
}

static const char *
time_text(int number)
{
	return pstrdup(timestamptz_to_str(
					DatumGetTimestampTz(og_query_datum(0, number))));
}

/*
 * og_outcome_loss
 *		Can an order without a trace have been tried and rolled back while not
 *		all was noted?  Then that is the answer, with the time.
 */
void
og_outcome_loss(const OgOrder *order, OgTrace *trace)
{
	static OgPlan plan = {
		"SELECT because, reason, since, until, count(*) OVER () "
		"FROM order_guard.loss WHERE watch IN (0, $1) AND until >= $2 "
		"ORDER BY until DESC LIMIT 1", NULL
	};
	Oid			types[] = {INT4OID, TIMESTAMPTZOID};
	Datum		values[] = {
		Int32GetDatum(order->watch), TimestampTzGetDatum(order->created)
	};
	int64		before;

	run_own(&plan, 2, types, values);
	if (SPI_processed == 0)
		return;
	before = DatumGetInt64(og_query_datum(0, 4)) - 1;
	trace->because = column(0);
	trace->reason = psprintf("not all was noted between %s and %s%s: %s",
							 time_text(2), time_text(3),
							 before == 0 ? "" :
							 psprintf(", and %lld times before",
									  (long long) before), column(1));
}

/* With the caller's rights: a key's type may have code of somebody's. */
static Datum
hash_of_key(const OgOrder *order, const char *key)
{
	Datum	   *names = palloc(sizeof(Datum) * list_length(order->keys));
	ListCell   *cell;
	int			n = 0;

	foreach(cell, order->keys)
		names[n++] = DirectFunctionCall1(namein,
										 CStringGetDatum(lfirst(cell)));
	return DirectFunctionCall3(og_keytext_hash,
							   ObjectIdGetDatum(order->relation),
							   og_query_array(names, NULL, n, NAMEOID),
							   CStringGetTextDatum(key));
}

/* The status of an expression, which is not for the caller to evaluate. */
static char *
tracked_status(const OgOrder *order, const char *key)
{
	static OgPlan plan = {
		"SELECT status FROM order_guard.tracked "
		"WHERE watch = $1 AND hash = $2", NULL
	};
	Oid			types[] = {INT4OID, UUIDOID};
	Datum		values[] = {Int32GetDatum(order->watch), (Datum) 0};

	if (!order->visible)
		return NULL;
	if (order->by_key)
		values[1] = og_views_hash_datum(order->hash);
	else
		values[1] = hash_of_key(order, key);
	run_own(&plan, 2, types, values);
	return SPI_processed > 0 ? column(0) : NULL;
}

/* ------------------------------------------------------------------------
 * The row
 * ------------------------------------------------------------------------
 */

typedef struct RowPlan
{
	struct
	{
		Oid			relation;
		bool		by_key;
	}			key;
	char	   *sql;			/* changes with the watch; NULL: no plan */
	SPIPlanPtr	plan;
} RowPlan;

static char *
row_query(const OgOrder *order)
{
	StringInfoData sql;
	ListCell   *cell;
	bool		several = list_length(order->keys) > 1;

	initStringInfo(&sql);
	appendStringInfoString(&sql, several ? "SELECT ROW(" : "SELECT ");
	foreach(cell, order->keys)
		appendStringInfo(&sql, "%st.%s",
						 cell == list_head(order->keys) ? "" : ", ",
						 quote_identifier(lfirst(cell)));
	appendStringInfoString(&sql, several ? ")::pg_catalog.text, " :
						   "::pg_catalog.text, ");
	if (order->status[0] == '(')
		appendStringInfoString(&sql, "NULL::pg_catalog.text");
	else
		appendStringInfo(&sql, "t.%s::pg_catalog.text",
						 quote_identifier(order->status));
	appendStringInfo(&sql, ", t.xmin FROM %s t WHERE ",
					 og_key_relation_name(order->relation));
	for (int i = 0; i < order->nvalues; i++)
	{
		if (i > 0)
			appendStringInfoString(&sql, " AND ");
		if (order->null[i])
			appendStringInfo(&sql, "t.%s IS NULL",
							 quote_identifier(order->column[i]));
		else
			appendStringInfo(&sql, "t.%s %s $%d",
							 quote_identifier(order->column[i]),
							 og_keytext_equality(order->type[i]), i + 1);
	}
	return sql.data;
}

static SPIPlanPtr
row_plan(const OgOrder *order)
{
	static HTAB *plans = NULL;
	RowPlan		probe;
	RowPlan    *entry;
	char	   *sql = row_query(order);
	bool		found;

	if (plans == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(probe.key);
		control.entrysize = sizeof(RowPlan);
		plans = hash_create("order_guard row plans", 16, &control,
							HASH_ELEM | HASH_BLOBS);
	}
	memset(&probe, 0, sizeof(probe));
	probe.key.relation = order->relation;
	probe.key.by_key = order->by_key;
	entry = hash_search(plans, &probe.key, HASH_ENTER, &found);
	if (!found)
		entry->sql = NULL;
	if (entry->sql && strcmp(entry->sql, sql) == 0 &&
		og_trust_plan_is_fresh(entry->plan))
		return entry->plan;
	if (entry->sql)
	{
		pfree(entry->sql);
		entry->sql = NULL;
		SPI_freeplan(entry->plan);
	}
	entry->plan = SPI_prepare(sql, order->nvalues, (Oid *) order->type);
	if (entry->plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql,
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(entry->plan);
	entry->sql = MemoryContextStrdup(TopMemoryContext, sql);
	return entry->plan;
}

static void
read_row(const OgOrder *order, const OgTrace *journal, OgTrace *trace)
{
	TransactionId xmin = DatumGetTransactionId(og_query_datum(0, 2));
	bool		same = (TransactionId) journal->xid == xmin;

	trace->key = column(0);
	trace->status = column(1);
	trace->basis = "row";
	if (TransactionIdIsCurrentTransactionId(xmin))
	{
		trace->outcome = "in_flight";
		trace->pid = MyProcPid;
	}
	else
	{
		trace->outcome = "committed";
		trace->at = og_durable_time(xmin);
		trace->final = og_durable(xmin, same ? journal->lsn : 0);
		if (!trace->final)
			trace->reason = "a synchronous standby has not confirmed it";
	}
}

/*
 * Runs the query for the row.  In a table that the caller did not name no
 * code of its owner's runs for it.
 */
static void
run_row_query(const OgOrder *order)
{
	char		nulls[OG_MAX_KEYS];
	SPIPlanPtr	plan = row_plan(order);
	int			result;

	for (int i = 0; i < order->nvalues; i++)
		nulls[i] = order->null[i] ? 'n' : ' ';
	if (!order->named && !og_trust_plan(plan, order->relation))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("code of the owner of %s is not run for others",
						og_key_relation_name(order->relation))));
	result = SPI_execute_snapshot(plan, (Datum *) order->value, nulls,
								  GetLatestSnapshot(), InvalidSnapshot, true,
								  false, 1);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not read %s: %s",
			 og_key_relation_name(order->relation),
			 SPI_result_code_string(result));
}

/*
 * og_outcome_row
 *		What the table says.  No answer if there is no row, or none that the
 *		caller may see.
 */
void
og_outcome_row(const OgOrder *order, const OgTrace *journal, OgTrace *trace)
{
	MemoryContext context = CurrentMemoryContext;

	memset(trace, 0, sizeof(*trace));
	if (order->nvalues == 0)
		return;					/* by a token that stands in no column */
	/* Who waits for the table is to see what it waited for. */
	LockRelationOid(order->relation, AccessShareLock);
	run_row_query(order);
	MemoryContextSwitchTo(context);
	if (SPI_processed == 0)
		return;
	read_row(order, journal, trace);
	if (order->status[0] == '(')
		trace->status = tracked_status(order, trace->key);
}
