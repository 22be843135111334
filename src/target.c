/*
 * target.c
 *		The watched relation that a statement writes to.
 *
 * Runs in the executor's hooks: for the start, the run and the end of each
 * statement.  What the last one writes to is kept.  And for rows past the
 * limit, that are counted only.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "nodes/execnodes.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "attempt.h"
#include "columns.h"
#include "target.h"

OgTarget	og_target;

/*
 * og_target_find
 *		Sets og_target; false if the statement writes to nothing watched.
 *		"starts" tells a statement from an earlier one at the same address.
 */
bool
og_target_find(QueryDesc *query, bool starts)
{
	ListCell   *cell;

	if (og_target.query == query && !starts)
		return og_target.watch != 0;
	og_target.query = query;
	og_target.watch = 0;
	foreach(cell, query->estate->es_opened_result_relations)
	{
		ResultRelInfo *info = lfirst(cell);

		og_target.watch = og_columns_watch_of(info->ri_TrigDesc);
		og_target.relation = RelationGetRelid(info->ri_RelationDesc);
		if (og_target.watch != 0)
			return true;
	}
	return false;
}

/*
 * og_target_root
 *		The topmost table of which this is a partition, or itself: what many
 *		partitions have in common.  Looks into the catalog.
 */
Oid
og_target_root(Oid relation)
{
	if (!OidIsValid(relation) || !get_rel_relispartition(relation))
		return relation;
	return llast_oid(get_partition_ancestors(relation));
}

/* One of these that has a trigger which names the watch. */
static Oid
find_relation(List *results, uint32 watch)
{
	ListCell   *cell;

	foreach(cell, results)
	{
		ResultRelInfo *info = lfirst(cell);
		TriggerDesc *triggers = info->ri_TrigDesc;

		for (int i = 0; triggers && i < triggers->numtriggers; i++)
			if (og_columns_is_ours(&triggers->triggers[i]) &&
				og_columns_watch(&triggers->triggers[i]) == watch)
				return RelationGetRelid(info->ri_RelationDesc);
	}
	return InvalidOid;
}

/* What a COPY into a table writes to; it has been opened by that name. */
static Oid
copy_target(Node *utility)
{
	CopyStmt   *copy = (CopyStmt *) utility;

	if (!IsA(utility, CopyStmt) || !copy->is_from || copy->relation == NULL)
		return InvalidOid;
	return RangeVarGetRelid(copy->relation, NoLock, true);
}

/*
 * og_target_of_watch
 *		The topmost table to which the innermost statement writes in the name
 *		of a watch; InvalidOid if it writes to none.  Whether the watch is of
 *		that table, the worker knows.
 */
Oid
og_target_of_watch(uint32 watch)
{
	OgStatement *statement = og_attempt_running;
	Oid			relation = InvalidOid;

	if (statement == NULL)
		return InvalidOid;
	if (statement->watch == watch)
		return statement->relation;
	if (statement->query)
	{
		EState	   *state = statement->query->estate;

		relation = find_relation(state->es_opened_result_relations, watch);
		if (!OidIsValid(relation))
			relation = find_relation(state->es_tuple_routing_result_relations,
									 watch);
	}
	else if (statement->utility)
		relation = copy_target(statement->utility);
	if (!OidIsValid(relation))
		return InvalidOid;
	statement->watch = watch;
	statement->relation = og_target_root(relation);
	return statement->relation;
}
