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
#include "owner.h"
#include "query.h"
#include "tracker.h"
#include "verify.h"

#define BLOCKS_PER_STEP 2048	/* 16 MB */
#define MAX_POISONED	8		/* blocks with such rows in one step */

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

/* A part of a leaf, and its rows: of some status, or of any. */
static char *
make_query(const OgWatch *watch, Oid leaf, int64 from, int64 to, bool any)
{
	StringInfoData sql;
	char	   *schema = get_namespace_name(get_rel_namespace(leaf));
	ListCell   *cell;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s", og_watch_key_expression(watch));
	foreach(cell, watch->keys)
		appendStringInfo(&sql, ", %s.%s", watch->alias, (char *) lfirst(cell));
	if (!any)
		appendStringInfo(&sql, ", %s", og_verify_columns(watch, false));
	appendStringInfo(&sql, " FROM ONLY %s AS %s WHERE "
					 "%s.ctid >= '(" INT64_FORMAT ",0)'::pg_catalog.tid AND "
					 "%s.ctid < '(" INT64_FORMAT ",0)'::pg_catalog.tid",
					 quote_qualified_identifier(schema, get_rel_name(leaf)),
					 watch->alias, watch->alias, from, watch->alias, to);
	if (!any)
		appendStringInfo(&sql, " AND (%s)::pg_catalog.text COLLATE \"C\" = "
						 "ANY ($1)", watch->status);
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
	int			nkeys = list_length(watch->keys);
	OgKeyHash	hash;
	OgPresent	present = {0};
	OgTracked  *tracked;
	bool		known;

	hash_key(row, 1, nkeys, &hash);
	og_verify_read(row, 1 + nkeys, &present);
	tracked = og_tracker_find(watch->id, (uint8 *) hash.half);
	if (tracked && strcmp(tracked->status, present.status) == 0)
		return;
	/* What the journal spoke of was not there before the watch. */
	known = tracked != NULL;
	tracked = og_tracker_put(watch, (uint8 *) hash.half,
							 og_query_text(row, 0), present.status,
							 present.since ? present.since : now);
	if (tracked)
		tracked->backlog = !known && strcmp(watch->sweep, "watch") == 0;
}

/* One row of a block makes an error: each is looked at by itself. */
static OgOwnerResult
examine_block(OgWatch *watch, Oid leaf, int64 block)
{
	OgOwnerResult result;
	int			nkeys = list_length(watch->keys);

	result = og_owner_query(watch, make_query(watch, leaf, block, block + 1,
											  true), 0, NULL, NULL);
	if (result != OG_OWNER_DONE)
		return result;
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		OgKeyHash	hash;
		OgTracked  *tracked;

		hash_key(row, 1, nkeys, &hash);
		if (og_tracker_find(watch->id, (uint8 *) hash.half))
			continue;
		og_tracker_examine(watch, (uint8 *) hash.half,
						   og_query_text(row, 0), false);
		tracked = og_tracker_find(watch->id, (uint8 *) hash.half);
		if (tracked)
			tracked->backlog = strcmp(watch->sweep, "watch") == 0;
	}
	return OG_OWNER_DONE;
}

/* Reads blocks; while there is an error that one row may have made, halves. */
static OgOwnerResult
read_blocks(OgWatch *watch, Oid leaf, int64 from, int64 to, int *npoisoned)
{
	Oid			types[] = {TEXTARRAYOID};
	Datum		values[1] = {deadline_statuses(watch)};
	TimestampTz now = GetCurrentTimestamp();
	char	   *message = NULL;
	OgOwnerResult result;

	result = og_owner_try(watch, make_query(watch, leaf, from, to, false), 1,
						  types, values, &message);
	if (result == OG_OWNER_POISONED && to - from > 1)
	{
		int64		middle = from + (to - from) / 2;

		result = read_blocks(watch, leaf, from, middle, npoisoned);
		if (result == OG_OWNER_DONE)
			result = read_blocks(watch, leaf, middle, to, npoisoned);
		return result;
	}
	if (result == OG_OWNER_POISONED && ++*npoisoned <= MAX_POISONED)
		return examine_block(watch, leaf, from);
	if (result == OG_OWNER_POISONED)
		og_owner_note_error(watch, message);
	if (result != OG_OWNER_DONE)
		return OG_OWNER_FAILED;
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		CHECK_FOR_INTERRUPTS();
		take_row(watch, row, now);
	}
	return OG_OWNER_DONE;
}

/* Not if watch() has asked for another sweep since the tick began. */
static void
save_progress(OgWatch *watch, Oid leaf, int64 block, bool done, bool again)
{
	static OgPlan plan = {
		"UPDATE order_guard.watch_state SET sweep_leaf = $2, "
		"sweep_block = $3, sweep_started = CASE WHEN $4 THEN NULL ELSE "
		"coalesce(sweep_started, now()) END, "
		"sweep = CASE WHEN $4 AND NOT $7 THEN sweep_next ELSE sweep END, "
		"sweep_next = CASE WHEN $4 AND NOT $7 THEN NULL ELSE sweep_next END, "
		"sweep_again = $7, "
		"last_sweep = CASE WHEN $4 THEN clock_timestamp() ELSE last_sweep END "
		OG_WATCH_STATE_FREE " AND sweep = $5 AND sweep_block = $6", NULL
	};
	Oid			types[] = {
		INT4OID, OIDOID, INT8OID, BOOLOID, TEXTOID, INT8OID, BOOLOID
	};
	Datum		values[] = {
		Int32GetDatum(watch->id), ObjectIdGetDatum(leaf),
		Int64GetDatum(block), BoolGetDatum(done),
		CStringGetTextDatum(watch->sweep), Int64GetDatum(watch->sweep_block),
		BoolGetDatum(again)
	};

	og_query_run(&plan, 7, types, values,
				 OidIsValid(leaf) ? NULL : " n     ");
}

/*
 * At the beginning of a sweep: what is tracked is looked at again, by the
 * deadlines that hold now.  Under another key than before it is forgotten.
 */
static void
begin_sweep(OgWatch *watch)
{
	ListCell   *cell;

	foreach(cell, og_tracker_all(watch->id))
	{
		OgTracked  *tracked = lfirst(cell);

		if (strcmp(watch->sweep, "key changed") != 0)
		{
			og_tracker_schedule(tracked, 0);
			continue;
		}
		og_open_clear(watch->id, "stalled", tracked->id.hash,
					  "orders have another key now");
		og_tracker_remove(tracked);
	}
}

/*
 * Reads the next blocks of a leaf, *left at most; false if it cannot now.
 * Sets *next to the block after them, or to 0 if the leaf is done.
 */
static bool
sweep_leaf(OgWatch *watch, Oid leaf, int64 from, int64 *left, int64 *next)
{
	int			npoisoned = 0;
	int64		blocks;
	int64		to;

	if (!count_blocks(leaf, &blocks))
		return false;
	to = Min(from + *left, blocks);
	if (from < blocks && watch->deadlines != NIL &&
		read_blocks(watch, leaf, from, to, &npoisoned) != OG_OWNER_DONE)
		return false;
	*left -= Max(to - from, 0) + 1;
	*next = to < blocks ? to : 0;
	return true;
}

/*
 * og_sweep_step
 *		Does the next piece of a sweep that is wanted.  One that began while
 *		transactions were open whose work nobody noted is done once more when
 *		they are over.
 */
void
og_sweep_step(OgWatch *watch)
{
	Oid			leaf = find_leaf(watch, watch->sweep_leaf);
	int64		from = leaf == watch->sweep_leaf ? watch->sweep_block : 0;
	int64		left = BLOCKS_PER_STEP;
	bool		again = watch->sweep_again;

	if (!OidIsValid(watch->sweep_leaf) && from == 0)
	{
		if (watch->sweep_again && watch->sweep_early)
			return;
		again = watch->sweep_early;
		begin_sweep(watch);
	}
	while (OidIsValid(leaf) && left > 0)
	{
		if (!sweep_leaf(watch, leaf, from, &left, &from))
			break;
		if (from == 0)
			leaf = find_leaf(watch, leaf + 1);
	}
	save_progress(watch, leaf, from, !OidIsValid(leaf), again);
	if (!OidIsValid(leaf) && !again)
	{
		watch->sweep = NULL;
		og_detect_vanished_again(watch);
	}
}
