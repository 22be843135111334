/*
 * sweep.c
 *		Reads a guarded table from end to end, a piece at each tick.
 *
 * Runs in the worker.  A sweep finds the orders that are in a status with a
 * deadline though no hint said so: those that were there before the watch,
 * those of a bulk load, those whose records were lost.  How far it is stands in
 * order_guard.watch_state, and a new worker goes on from there.  Leaves are
 * taken in the order of their Oids.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "detect.h"
#include "keyhash.h"
#include "open.h"
#include "query.h"
#include "tracker.h"
#include "verify.h"

#define BLOCKS_PER_STEP 2048	/* 16 MB */

static int
compare_oids(const ListCell *a, const ListCell *b)
{
	Oid			left = lfirst_oid(a);
	Oid			right = lfirst_oid(b);

	return left < right ? -1 : left > right;
}

/* The first leaf of the watch from "from" on; InvalidOid: none. */
static Oid
find_leaf(const OgWatch *watch, Oid from)
{
	List	   *tree = find_all_inheritors(watch->relation, NoLock, NULL);
	ListCell   *cell;

	list_sort(tree, compare_oids);
	foreach(cell, tree)
	{
		if (lfirst_oid(cell) >= from &&
			get_rel_relkind(lfirst_oid(cell)) == RELKIND_RELATION)
			return lfirst_oid(cell);
	}
	return InvalidOid;
}

/* Number of blocks; false if the leaf is locked or gone. */
static bool
count_blocks(Oid leaf, int64 *blocks)
{
	Relation	relation;

	if (!ConditionalLockRelationOid(leaf, AccessShareLock))
		return false;
	relation = try_relation_open(leaf, NoLock);
	if (relation == NULL)
		return false;
	*blocks = RelationGetNumberOfBlocks(relation);
	relation_close(relation, NoLock);
	return true;
}

static char *
make_query(const OgWatch *watch, Oid leaf, int64 from, int64 to)
{
	StringInfoData sql;
	char	   *schema = get_namespace_name(get_rel_namespace(leaf));
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s, %s", og_watch_key_expression(watch),
					 og_verify_columns(watch));
	foreach(cell, watch->keys)
		appendStringInfo(&sql, ", %s.%s", watch->alias, (char *) lfirst(cell));
	appendStringInfo(&sql, " FROM ONLY %s AS %s WHERE "
					 "%s.ctid >= '(" INT64_FORMAT ",0)'::pg_catalog.tid AND "
					 "%s.ctid < '(" INT64_FORMAT ",0)'::pg_catalog.tid AND "
					 "(%s)::pg_catalog.text = ANY ($1)",
					 quote_qualified_identifier(schema, get_rel_name(leaf)),
					 watch->alias, watch->alias, from, watch->alias, to,
					 watch->status);
	return sql.data;
}

static Datum
deadline_statuses(const OgWatch *watch)
{
	int			n = list_length(watch->deadlines);
	Datum	   *statuses = palloc(n * sizeof(Datum));

	for (int i = 0; i < n; i++)
		statuses[i] = CStringGetTextDatum(((OgDeadline *)
										   list_nth(watch->deadlines, i))->status);
	return og_query_array(statuses, NULL, n, TEXTOID);
}

static void
hash_key(int row, int first, int nkeys, OgKeyHash *hash)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;

	og_keyhash_begin(hash);
	for (int i = first; i < first + nkeys; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		og_keyhash_add(hash, og_query_datum(row, i), og_query_null(row, i),
					   attribute->atttypid, attribute->attlen,
					   attribute->attbyval);
	}
}

static void
take_row(OgWatch *watch, int row, TimestampTz now)
{
	OgKeyHash	hash;
	OgPresent	present = {0};
	OgTracked  *tracked;

	hash_key(row, 5, list_length(watch->keys), &hash);
	og_verify_read(row, 1, &present);
	tracked = og_tracker_find(watch->id, (uint8 *) hash.half);
	if (tracked && strcmp(tracked->status, present.status) == 0)
		return;
	tracked = og_tracker_put(watch, (uint8 *) hash.half,
							 og_query_text(row, 0), present.status,
							 present.since ? present.since : now);
	if (tracked)
		tracked->backlog = strcmp(watch->sweep, "watch") == 0;
}

static void
save_progress(OgWatch *watch, Oid leaf, int64 block, bool done)
{
	static OgPlan plan = {
		"UPDATE order_guard.watch_state SET sweep_leaf = $2, "
		"sweep_block = $3, sweep_started = CASE WHEN $4 THEN NULL ELSE "
		"coalesce(sweep_started, now()) END, "
		"sweep = CASE WHEN $4 THEN NULL ELSE sweep END, last_error = NULL, "
		"last_sweep = CASE WHEN $4 THEN clock_timestamp() ELSE last_sweep END "
		"WHERE watch = $1", NULL
	};
	Oid			types[] = {INT4OID, OIDOID, INT8OID, BOOLOID};
	Datum		values[] = {
		Int32GetDatum(watch->id), ObjectIdGetDatum(leaf),
		Int64GetDatum(block), BoolGetDatum(done)
	};

	og_query_run(&plan, 4, types, values, NULL);
}

/* What is tracked is measured by the deadlines that hold now. */
static void
recompute_deadlines(OgWatch *watch)
{
	ListCell   *cell;

	foreach(cell, og_tracker_all(watch->id))
		og_tracker_schedule(lfirst(cell), 0);
}

/*
 * og_sweep_step
 *		Does the next piece of a sweep that is wanted.
 */
void
og_sweep_step(OgWatch *watch)
{
	Oid			leaf = find_leaf(watch, watch->sweep_leaf);
	int64		from = leaf == watch->sweep_leaf ? watch->sweep_block : 0;
	int64		to = from + BLOCKS_PER_STEP;
	int64		blocks;
	TimestampTz now = GetCurrentTimestamp();
	Oid			types[] = {TEXTARRAYOID};
	Datum		values[1];

	if (!OidIsValid(watch->sweep_leaf) && from == 0)
		recompute_deadlines(watch);
	if (!OidIsValid(leaf))
	{
		save_progress(watch, InvalidOid, 0, true);
		return;
	}
	if (!count_blocks(leaf, &blocks))
		return;
	values[0] = deadline_statuses(watch);
	if (from < blocks && watch->deadlines != NIL)
	{
		if (og_owner_query(watch, make_query(watch, leaf, from, to), 1, types,
						   values) != OG_OWNER_DONE)
			return;
		for (uint64 row = 0; row < SPI_processed; row++)
		{
			CHECK_FOR_INTERRUPTS();
			take_row(watch, row, now);
		}
	}
	if (to < blocks)
		save_progress(watch, leaf, to, false);
	else
		save_progress(watch, leaf + 1, 0,
					  !OidIsValid(find_leaf(watch, leaf + 1)));
}
