/*
 * moves.c
 *		Orders that went on under another key: the deletion and the row that
 *		belong together.
 *
 * Runs in the worker.  An update of the key in place is written as two records
 * that say so.  One that takes a row to another partition is a DELETE and an
 * INSERT to the triggers, and if the partition key is part of the order's
 * key, of two orders.  They are one if they come from one statement and their
 * keys differ in columns that decide about the partition, and only there.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/partition.h"
#include "catalog/pg_partitioned_table.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "moves.h"
#include "watch.h"

/* Is this column, quoted, part of the partition key of a table? */
static bool
is_partition_key(Oid table, const char *column)
{
	HeapTuple	tuple = SearchSysCache1(PARTRELID, ObjectIdGetDatum(table));
	Form_pg_partitioned_table form;
	bool		found = false;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_partitioned_table) GETSTRUCT(tuple);
	for (int i = 0; i < form->partnatts && !found; i++)
	{
		AttrNumber	attnum = form->partattrs.values[i];
		char	   *name = attnum ? get_attname(table, attnum, true) : NULL;

		found = name && strcmp(quote_identifier(name), column) == 0;
	}
	ReleaseSysCache(tuple);
	return found;
}

/* Does it, for the partitions between the watched table and a leaf? */
static bool
decides(const OgWatch *watch, Oid leaf, const char *column)
{
	ListCell   *cell;

	foreach(cell, get_partition_ancestors(leaf))
	{
		if (is_partition_key(lfirst_oid(cell), column))
			return true;
		if (lfirst_oid(cell) == watch->relation)
			break;
	}
	return false;
}

/* The order of one record under another partition's key? */
static bool
is_same_order(const OgWatch *watch, OgRowRecord *gone, OgRowRecord *new)
{
	int			differ = 0;
	int			n = list_length(watch->keys);

	for (int i = 0; i < n; i++)
	{
		const char *column = list_nth(watch->keys, i);

		if (og_reader_same_key(gone, new, i))
			continue;
		if (!decides(watch, gone->relation, column) &&
			!decides(watch, new->relation, column))
			return false;
		differ++;
	}
	return differ > 0 && differ < n;
}

static OgRow *
find_arrival(const OgWatch *watch, OgXact *xact, OgRow *gone)
{
	ListCell   *cell;

	foreach(cell, xact->rows)
	{
		OgRow	   *row = lfirst(cell);

		if (row->record->operation == 'I' && !row->arrived &&
			row->state == gone->state &&
			row->record->statement == gone->record->statement &&
			row->record->watch == gone->record->watch &&
			row->record->relation != gone->record->relation &&
			is_same_order(watch, gone->record, row->record))
			return row;
	}
	return NULL;
}

/*
 * og_moves_mark
 *		Sets moved_to and arrived of the rows of a transaction.
 */
void
og_moves_mark(OgXact *xact)
{
	for (int i = 0; i < list_length(xact->rows); i++)
	{
		OgRow	   *row = list_nth(xact->rows, i);
		OgRow	   *next = i + 1 < list_length(xact->rows) ?
			list_nth(xact->rows, i + 1) : NULL;
		OgWatch    *watch;

		if (row->record->operation != 'D' || row->state == OG_ROW_VOID)
			continue;
		watch = og_watch_find(row->record->watch);
		if (watch == NULL)
			continue;
		if (!(row->record->head.flags & OG_ROW_MOVED))
		{
			if (list_length(watch->keys) > 1 &&
				get_rel_relispartition(row->record->relation))
				row->moved_to = find_arrival(watch, xact, row);
		}
		else if (next && next->record->operation == 'U' &&
				 (next->record->head.flags & OG_ROW_MOVED))
			row->moved_to = next;
		if (row->moved_to)
			row->moved_to->arrived = true;
	}
}
