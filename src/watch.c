/*
 * watch.c
 *		The watches, as the worker sees them: loaded anew at each tick, into
 *		the tick's memory context.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/xid8.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "query.h"
#include "watch.h"

List	   *og_watches = NIL;
bool		og_watches_outdated = true;

static Oid	watch_table = InvalidOid;

static OgPlan load_plan = {
	"SELECT w.id, c.oid, c.relowner, c.relkind::text, "
	"coalesce(quote_ident(n.nspname) || '.' || quote_ident(c.relname), "
	"s.name, w.relation::text), "
	"k.names, k.types, "
	"CASE WHEN w.status LIKE '(%' THEN w.status ELSE quote_ident(w.status) END, "
	"w.status LIKE '(%', d.statuses, d.allowed, quote_ident(w.since), "
	"quote_ident(w.token), "
	"CASE WHEN w.amount LIKE '(%' THEN w.amount ELSE quote_ident(w.amount) END, "
	"quote_ident(w.customer), coalesce(w.options->>'vanished', 'each'), "
	"s.sweep, s.sweep_leaf, s.sweep_block, s.coverage, "
	"quote_ident(c.relname), (SELECT format_type(a.atttypid, a.atttypmod) "
	"FROM pg_attribute a WHERE a.attrelid = w.relation AND a.attnum > 0 "
	"AND a.attname = w.token), w.created_at, s.last_error, w.relation::oid, "
	"coalesce(s.sweep_after > pg_snapshot_xmin(pg_current_snapshot()), "
	"false), coalesce(s.sweep_again, false), w.options ? 'handlers' "
	"FROM order_guard.watch w "
	"LEFT JOIN order_guard.watch_state s ON s.watch = w.id "
	"LEFT JOIN pg_class c ON c.oid = w.relation "
	"LEFT JOIN pg_namespace n ON n.oid = c.relnamespace "
	"CROSS JOIN LATERAL (SELECT array_agg(quote_ident(key) ORDER BY i) AS names, "
	"array_agg(coalesce(format_type(a.atttypid, a.atttypmod), '?') ORDER BY i) AS types "
	"FROM unnest(w.key) WITH ORDINALITY AS u(key, i) "
	"LEFT JOIN pg_attribute a ON a.attrelid = w.relation AND a.attname = u.key "
	"AND a.attnum > 0) k "
	"CROSS JOIN LATERAL (SELECT array_agg(j.key) AS statuses, "
	"array_agg((extract(epoch FROM j.value::interval) * 1000000)::bigint::text) "
	"AS allowed FROM jsonb_each_text(w.deadlines) j) d "
	"ORDER BY w.id", NULL
};

static OgVanishedOption
vanished_option(const char *text)
{
	if (strcmp(text, "off") == 0)
		return OG_VANISHED_OFF;
	return strcmp(text, "group") == 0 ?
		OG_VANISHED_GROUP : OG_VANISHED_EACH;
}

static List *
make_deadlines(List *statuses, List *allowed)
{
	List	   *deadlines = NIL;
	ListCell   *status;
	ListCell   *time;

	forboth(status, statuses, time, allowed)
	{
		OgDeadline *deadline = palloc(sizeof(OgDeadline));

		deadline->status = lfirst(status);
		deadline->allowed = strtoll(lfirst(time), NULL, 10);
		deadlines = lappend(deadlines, deadline);
	}
	return deadlines;
}

static OgWatch *
make_watch(int row)
{
	OgWatch    *watch = palloc0(sizeof(OgWatch));

	watch->id = DatumGetInt32(og_query_datum(row, 0));
	if (!og_query_null(row, 1))
	{
		watch->relation = DatumGetObjectId(og_query_datum(row, 1));
		watch->owner = DatumGetObjectId(og_query_datum(row, 2));
		watch->kind = og_query_text(row, 3)[0];
	}
	watch->name = og_query_text(row, 4);
	watch->keys = og_query_texts(row, 5);
	watch->types = og_query_texts(row, 6);
	watch->status = og_query_text(row, 7);
	watch->expression = DatumGetBool(og_query_datum(row, 8));
	watch->deadlines = make_deadlines(og_query_texts(row, 9),
									  og_query_texts(row, 10));
	watch->since = og_query_text(row, 11);
	watch->token = og_query_text(row, 12);
	watch->amount = og_query_text(row, 13);
	watch->customer = og_query_text(row, 14);
	watch->vanished = vanished_option(og_query_text(row, 15));
	watch->sweep = og_query_text(row, 16);
	watch->sweep_leaf = og_query_null(row, 17) ? InvalidOid :
		DatumGetObjectId(og_query_datum(row, 17));
	watch->sweep_block = og_query_null(row, 18) ? 0 :
		DatumGetInt64(og_query_datum(row, 18));
	watch->coverage = og_query_text(row, 19);
	watch->alias = og_query_text(row, 20);
	watch->token_type = og_query_text(row, 21);
	watch->created = DatumGetTimestampTz(og_query_datum(row, 22));
	watch->error = og_query_text(row, 23);
	watch->listed = DatumGetObjectId(og_query_datum(row, 24));
	watch->sweep_early = DatumGetBool(og_query_datum(row, 25));
	watch->sweep_again = DatumGetBool(og_query_datum(row, 26));
	watch->handlers = DatumGetBool(og_query_datum(row, 27));
	return watch;
}

/* Watches that came with a dump have no state yet. */
static void
add_states(void)
{
	static OgPlan plan = {
		"INSERT INTO order_guard.watch_state (watch, sweep) SELECT w.id, "
		"'watch' FROM order_guard.watch w WHERE NOT EXISTS (SELECT FROM "
		"order_guard.watch_state s WHERE s.watch = w.id) "
		"ON CONFLICT DO NOTHING", NULL
	};

	og_query_run(&plan, 0, NULL, NULL, NULL);
}

/* A watch, or a table that is watched, has changed, or may have. */
static void
note_change(Datum arg, Oid relation)
{
	ListCell   *cell;

	if (!OidIsValid(relation) || relation == watch_table)
		og_watches_outdated = true;
	foreach(cell, og_watches)
	{
		if (((OgWatch *) lfirst(cell))->relation == relation)
			og_watches_outdated = true;
	}
}

/*
 * og_watch_tell
 *		Has workers load the watches anew when this transaction commits.
 */
void
og_watch_tell(void)
{
	Oid			schema = get_namespace_oid("order_guard", true);
	Oid			table = get_relname_relid("watch", schema);

	if (OidIsValid(table))
		CacheInvalidateRelcacheByRelid(table);
}

static void
listen(void)
{
	static bool listening = false;

	if (!listening)
		CacheRegisterRelcacheCallback(note_change, (Datum) 0);
	listening = true;
	watch_table = get_relname_relid("watch",
									get_namespace_oid("order_guard", false));
}

/*
 * og_watch_load_all
 *		Fills og_watches.  SPI is connected; allocates in the current context,
 *		which must outlive the tick's transactions.
 */
void
og_watch_load_all(void)
{
	MemoryContext context = CurrentMemoryContext;

	listen();
	og_watches = NIL;
	og_watches_outdated = false;
	add_states();
	og_query_run(&load_plan, 0, NULL, NULL, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		og_watches = lappend(og_watches, make_watch(row));
		MemoryContextSwitchTo(old);
	}
}

OgWatch *
og_watch_find(int id)
{
	ListCell   *cell;

	foreach(cell, og_watches)
	{
		OgWatch    *watch = lfirst(cell);

		if (watch->id == id)
			return watch;
	}
	return NULL;
}

/*
 * og_watch_covers
 *		Is this the watch's table or a partition of it?  Anybody can make a
 *		trigger that names somebody else's watch: such records are ignored.
 */
bool
og_watch_covers(const OgWatch *watch, Oid relation)
{
	if (!OidIsValid(watch->relation))
		return false;
	if (relation == watch->relation)
		return true;
	return watch->kind == RELKIND_PARTITIONED_TABLE &&
		get_rel_relispartition(relation) &&
		list_member_oid(get_partition_ancestors(relation), watch->relation);
}

/*
 * og_watch_counts
 *		May rows that were counted for this table be the watch's?  It is the
 *		topmost one, or not known.
 */
bool
og_watch_counts(const OgWatch *watch, Oid relation)
{
	return !OidIsValid(relation) || og_watch_covers(watch, relation) ||
		(OidIsValid(watch->relation) &&
		 get_rel_relispartition(watch->relation) &&
		 list_member_oid(get_partition_ancestors(watch->relation), relation));
}

/* What a status allows, or NULL if it has no deadline. */
const OgDeadline *
og_watch_deadline(const OgWatch *watch, const char *status)
{
	ListCell   *cell;

	if (status == NULL)
		return NULL;
	foreach(cell, watch->deadlines)
	{
		const OgDeadline *deadline = lfirst(cell);

		if (strcmp(deadline->status, status) == 0)
			return deadline;
	}
	return NULL;
}

/* A sweep that could not be asked for, as somebody held the row. */
typedef struct Request
{
	int			watch;
	const char *reason;			/* a constant */
} Request;

static List *requests = NIL;	/* of Request, in TopMemoryContext */

static void
keep_request(int watch, const char *reason)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Request    *request = palloc(sizeof(Request));

	request->watch = watch;
	request->reason = reason;
	requests = lappend(requests, request);
	MemoryContextSwitchTo(old);
}

/* A sweep that begins in this tick does not know whom it has to wait for. */
static void
mark_early(int id)
{
	ListCell   *cell;

	foreach(cell, og_watches)
	{
		OgWatch    *watch = lfirst(cell);

		if (id == 0 || watch->id == id)
			watch->sweep_early = true;
	}
}

/*
 * og_watch_request_sweep
 *		Has all of a watch (0: of every watch) read anew.  If a sweep is under
 *		way, another one follows it: were it to start again each time, it
 *		might never come to its end.  "reason" is a constant.  Unless it is
 *		that something has committed, transactions that are open now may be
 *		part of what went unnoted: the last sweep begins when they are over.
 */
void
og_watch_request_sweep(int id, const char *reason)
{
	static OgPlan plan = {
		"WITH free AS (SELECT watch FROM order_guard.watch_state "
		"WHERE $1 IN (0, watch) FOR NO KEY UPDATE SKIP LOCKED), "
		"done AS (UPDATE order_guard.watch_state s "
		"SET sweep = coalesce(sweep, $2), sweep_after = CASE "
		"WHEN $2 IN ('bulk', 'key too long') THEN sweep_after ELSE $3 END, "
		"sweep_again = sweep_again AND sweep_leaf IS NOT NULL, "
		"sweep_next = CASE "
		"WHEN sweep_leaf IS NULL THEN sweep_next "
		"ELSE coalesce(sweep_next, $2) END "
		"FROM free WHERE free.watch = s.watch) "
		"SELECT s.watch FROM order_guard.watch_state s "
		"WHERE $1 IN (0, s.watch) AND s.watch NOT IN (TABLE free)", NULL
	};
	Oid			types[] = {INT4OID, TEXTOID, XID8OID};
	Datum		values[] = {
		Int32GetDatum(id), CStringGetTextDatum(reason),
		FullTransactionIdGetDatum(ReadNextFullTransactionId())
	};

	og_query_run(&plan, 3, types, values, NULL);
	mark_early(id);
	for (uint64 row = 0; row < SPI_processed; row++)
		keep_request(DatumGetInt32(og_query_datum(row, 0)), reason);
}

/* Asks again for what could not be asked for.  SPI is connected. */
void
og_watch_retry_requests(void)
{
	List	   *kept = requests;
	ListCell   *cell;

	requests = NIL;
	foreach(cell, kept)
	{
		Request    *request = lfirst(cell);

		og_watch_request_sweep(request->watch, request->reason);
	}
	list_free_deep(kept);
}

/* The key as text, in SQL over the guarded table. */
char *
og_watch_key_expression(const OgWatch *watch)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	if (list_length(watch->keys) == 1)
	{
		appendStringInfo(&text, "%s.%s::pg_catalog.text", watch->alias,
						 (char *) linitial(watch->keys));
		return text.data;
	}
	appendStringInfoString(&text, "ROW(");
	foreach(cell, watch->keys)
		appendStringInfo(&text, "%s%s.%s", cell == list_head(watch->keys) ?
						 "" : ", ", watch->alias, (char *) lfirst(cell));
	appendStringInfoString(&text, ")::pg_catalog.text");
	return text.data;
}
