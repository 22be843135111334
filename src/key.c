/*
 * key.c
 *		From a key's text back to its row.
 *
 * Runs in backends and workers.  A key is the text its type puts out, or for
 * several columns the text of the row, "(a,b)".  The condition compares
 * column by column with the equality of the column's own type, named in
 * full: the search_path of whoever runs it must not change its meaning.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "incident_private.h"
#include "key.h"
#include "keytext.h"
#include "rights.h"

PG_FUNCTION_INFO_V1(og_key_condition_text);
PG_FUNCTION_INFO_V1(og_key_row_query);

/*
 * og_key_relation_name
 *		The name of a relation as a statement needs it.
 */
char *
og_key_relation_name(Oid relation)
{
	char	   *name = get_rel_name(relation);
	Oid			schema = get_rel_namespace(relation);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relation)));
	return quote_qualified_identifier(get_namespace_name(schema), name);
}

/*
 * A column of type text[] of SPI's only row as a list of strings.
 */
static List *
text_list(int column)
{
	bool		isnull;
	Datum		array = SPI_getbinval(SPI_tuptable->vals[0],
									  SPI_tuptable->tupdesc, column, &isnull);
	Datum	   *elements;
	int			n;
	List	   *list = NIL;

	if (isnull)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, NULL, &n);
	for (int i = 0; i < n; i++)
		list = lappend(list, TextDatumGetCString(elements[i]));
	return list;
}

/*
 * Reads one row of order_guard.watch.
 */
static OgWatched *
read_watch(const char *condition, Datum id, Oid type)
{
	char	   *sql = psprintf("SELECT w.id, w.relation::oid, w.key::text[], "
							   "w.status, w.status_columns::text[] "
							   "FROM order_guard.watch w WHERE %s", condition);
	OgWatched  *watched = NULL;
	OgRights	saved;

	og_rights_raise(&saved);
	SPI_execute_with_args(sql, 1, &type, &id, NULL, true, 1);
	if (SPI_processed > 0)
	{
		watched = palloc0(sizeof(OgWatched));
		watched->watch = atoi(og_incident_column(0, 1));
		watched->relation = strtoul(og_incident_column(0, 2), NULL, 10);
		watched->keys = text_list(3);
		watched->status = og_incident_column(0, 4);
		watched->status_columns = text_list(5);
		watched->plain = watched->status[0] != '(';
	}
	SPI_freetuptable(SPI_tuptable);
	og_rights_restore(&saved);
	return watched;
}

/*
 * og_key_watched, og_key_watched_relation
 *		The watch of a number, or of a relation.
 */
OgWatched *
og_key_watched(int watch)
{
	return read_watch("w.id = $1", Int32GetDatum(watch), INT4OID);
}

OgWatched *
og_key_watched_relation(Oid relation)
{
	return read_watch("w.relation::oid = $1", ObjectIdGetDatum(relation),
					  OIDOID);
}

/*
 * og_key_condition
 *		A condition that is true for the row with this key only.
 */
char *
og_key_condition(const OgWatched *watched, const char *key)
{
	List	   *fields = og_keytext_split(key, list_length(watched->keys));
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < list_length(fields); i++)
	{
		if (i > 0)
			appendStringInfoString(&buf, " AND ");
		og_keytext_compare(&buf, watched->relation,
						   list_nth(watched->keys, i), list_nth(fields, i));
	}
	return buf.data;
}

/*
 * Whoever may not read the table need not know how it is watched.
 */
static void
check_may_select(Oid relation)
{
	AclResult	result = pg_class_aclcheck(relation, GetUserId(), ACL_SELECT);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_TABLE, get_rel_name(relation));
}

/*
 * order_guard._key_condition(watch integer, key text) RETURNS text
 */
Datum
og_key_condition_text(PG_FUNCTION_ARGS)
{
	char	   *key = text_to_cstring(PG_GETARG_TEXT_PP(1));
	MemoryContext caller = CurrentMemoryContext;
	OgWatched  *watched;
	text	   *result;

	SPI_connect();
	watched = og_key_watched(PG_GETARG_INT32(0));
	if (watched == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("watch %d does not exist", PG_GETARG_INT32(0))));
	check_may_select(watched->relation);
	key = og_key_condition(watched, key);
	MemoryContextSwitchTo(caller);
	result = cstring_to_text(key);
	SPI_finish();
	PG_RETURN_TEXT_P(result);
}

/*
 * order_guard._row_query(relation regclass, key text) RETURNS text
 *
 * A query for what the row's status is, as JSON.  A status expression is
 * code of the table's owner: its columns are shown instead.
 */
Datum
og_key_row_query(PG_FUNCTION_ARGS)
{
	Oid			relation = PG_GETARG_OID(0);
	char	   *key = text_to_cstring(PG_GETARG_TEXT_PP(1));
	MemoryContext caller = CurrentMemoryContext;
	OgWatched  *watched;
	StringInfoData buf;
	ListCell   *cell;

	initStringInfo(&buf);
	check_may_select(relation);
	SPI_connect();
	watched = og_key_watched_relation(relation);
	if (watched == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s is not watched", og_key_relation_name(relation)),
				 errhint("order_guard.watch() has a table watched.")));
	appendStringInfoString(&buf, "SELECT pg_catalog.jsonb_build_object(");
	if (watched->plain)
		appendStringInfo(&buf, "'status', t.%s",
						 quote_identifier(watched->status));
	else
		appendStringInfoString(&buf, "'columns', "
							   "pg_catalog.jsonb_build_object(");
	foreach(cell, watched->plain ? NIL : watched->status_columns)
		appendStringInfo(&buf, "%s%s::pg_catalog.text, t.%s",
						 cell == list_head(watched->status_columns) ?
						 "" : ", ", quote_literal_cstr(lfirst(cell)),
						 quote_identifier(lfirst(cell)));
	appendStringInfo(&buf, "%s) FROM %s AS t WHERE %s",
					 watched->plain ? "" : ")",
					 og_key_relation_name(relation),
					 og_key_condition(watched, key));
	SPI_finish();
	MemoryContextSwitchTo(caller);
	PG_RETURN_TEXT_P(cstring_to_text(buf.data));
}
