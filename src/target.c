/*
 * target.c
 *		The watched relation that a statement writes to.
 *
 * Runs in the executor's hooks: for the start, the run and the end of each
 * statement.  What the last one writes to is kept.
 */
#include "postgres.h"

#include "nodes/execnodes.h"
#include "utils/rel.h"

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
