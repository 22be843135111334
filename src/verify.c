/*
 * verify.c
 *		What orders look like in their table now: the only thing from which an
 *		incident about a visible order is made.  Runs in the worker, in a
 *		transaction whose snapshot is younger than the hint.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "journal.h"
#include "keytext.h"
#include "query.h"
#include "verify.h"

/* Keys of which each has been found to make an error; more: give up. */
#define MAX_POISONED	32

/*
 * og_verify_columns
 *		The facts about an order, in SQL over the guarded table's row.
 *		Amount and customer are left out unless wanted.
 */
char *
og_verify_columns(const OgWatch *watch, bool all)
{
	return psprintf("(%s)::pg_catalog.text, (%s)::pg_catalog.timestamptz, "
					"(%s)::pg_catalog.numeric::pg_catalog.text, "
					"(%s)::pg_catalog.text",
					watch->status,
					watch->since ? watch->since : "NULL",
					all && watch->amount ? watch->amount : "NULL",
					all && watch->customer ? watch->customer : "NULL");
}

/* Reads those columns of a result, from number "column" on. */
void
og_verify_read(int row, int column, OgPresent *present)
{
	present->found = true;
	present->status = og_query_text(row, column);
	present->since = og_query_null(row, column + 1) ? 0 :
		DatumGetTimestampTz(og_query_datum(row, column + 1));
	if (TIMESTAMP_NOT_FINITE(present->since))
		present->since = 0;
	present->amount = og_query_text(row, column + 2);
	present->customer = og_query_text(row, column + 3);
}

static char *
make_query(const OgWatch *watch, bool all)
{
	StringInfoData sql;
	int			n = list_length(watch->keys);

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT k.i, f.* FROM ROWS FROM (unnest(");
	for (int i = 0; i < n; i++)
		appendStringInfo(&sql, "%s$%d", i ? ", " : "", i + 1);
	appendStringInfoString(&sql, ")) WITH ORDINALITY AS k (");
	for (int i = 0; i < n; i++)
		appendStringInfo(&sql, "k%d, ", i);
	appendStringInfo(&sql, "i) CROSS JOIN LATERAL (SELECT %s FROM %s WHERE ",
					 og_verify_columns(watch, all), watch->name);
	for (int i = 0; i < n; i++)
		appendStringInfo(&sql, "%s%s.%s = k.k%d::%s", i ? " AND " : "",
						 watch->alias, (char *) list_nth(watch->keys, i), i,
						 (char *) list_nth(watch->types, i));
	appendStringInfoString(&sql, ") AS f");
	return sql.data;
}

/*
 * The keys from "from" to before "to", as an array for each key column.  What
 * is no key of this watch is NULL there, and poisoned.
 */
static void
make_arrays(const OgWatch *watch, List *keys, int from, int to,
			OgPresent *present, Datum *arrays)
{
	int			nkeys = list_length(watch->keys);
	int			n = to - from;
	Datum	   *values = palloc(n * nkeys * sizeof(Datum));
	bool	   *nulls = palloc0(n * nkeys * sizeof(bool));

	for (int i = 0; i < n; i++)
	{
		List	   *fields;

		present[from + i].poisoned =
			og_keytext_parse(list_nth(keys, from + i), nkeys, &fields) != NULL;
		for (int k = 0; k < nkeys; k++)
		{
			char	   *field = present[from + i].poisoned ? NULL :
				list_nth(fields, k);

			nulls[k * n + i] = field == NULL;
			if (field)
				values[k * n + i] = CStringGetTextDatum(field);
		}
	}
	for (int k = 0; k < nkeys; k++)
		arrays[k] = og_query_array(values + k * n, nulls + k * n, n, TEXTOID);
}

static OgOwnerResult
read_keys(OgWatch *watch, List *keys, int from, int to, bool all,
		  OgPresent *present, char **message)
{
	Oid			types[OG_MAX_KEYS];
	Datum		arrays[OG_MAX_KEYS];
	OgOwnerResult result;

	for (int k = 0; k < OG_MAX_KEYS; k++)
		types[k] = TEXTARRAYOID;
	make_arrays(watch, keys, from, to, present, arrays);
	result = og_owner_try(watch, make_query(watch, all),
						  list_length(watch->keys), types, arrays, message);
	if (result != OG_OWNER_DONE)
		return result;
	for (uint64 row = 0; row < SPI_processed; row++)
		og_verify_read(row, 1, &present[from - 1 +
										DatumGetInt64(og_query_datum(row, 0))]);
	return OG_OWNER_DONE;
}

/*
 * Reads keys; while there is an error that one row may have made, halves of
 * them.  One that makes an error alone is read without amount and customer,
 * which an order is not judged by; if that does not help it is poisoned.
 */
static OgOwnerResult
isolate(OgWatch *watch, List *keys, int from, int to, OgPresent *present,
		int *npoisoned)
{
	char	   *message = NULL;
	OgOwnerResult result = read_keys(watch, keys, from, to, true, present,
									 &message);
	int			middle = from + (to - from) / 2;

	if (result != OG_OWNER_POISONED)
		return result;
	if (to - from > 1)
	{
		result = isolate(watch, keys, from, middle, present, npoisoned);
		if (result == OG_OWNER_DONE)
			result = isolate(watch, keys, middle, to, present, npoisoned);
		return result;
	}
	message = psprintf("order %s: %s", (char *) list_nth(keys, from), message);
	present[from].message = message;
	og_owner_note_error(watch, message);
	watch->failed = false;
	result = read_keys(watch, keys, from, to, false, present, &message);
	if (result != OG_OWNER_POISONED)
		return result;
	present[from].poisoned = true;
	if (++*npoisoned < MAX_POISONED)
		return OG_OWNER_DONE;
	watch->failed = true;
	return OG_OWNER_FAILED;
}

/*
 * og_verify_keys
 *		Reads orders by their keys; *present has an element for each.
 */
OgOwnerResult
og_verify_keys(OgWatch *watch, List *keys, OgPresent **present)
{
	int			nkeys = list_length(watch->keys);
	int			npoisoned = 0;

	*present = palloc0(list_length(keys) * sizeof(OgPresent));
	if (nkeys == 0 || nkeys > OG_MAX_KEYS)
		return OG_OWNER_FAILED;
	return isolate(watch, keys, 0, list_length(keys), *present, &npoisoned);
}
