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

/*
 * og_verify_columns
 *		The facts about an order, in SQL over the guarded table's row.
 */
char *
og_verify_columns(const OgWatch *watch)
{
	return psprintf("(%s)::pg_catalog.text, (%s)::pg_catalog.numeric::pg_catalog.text, "
					"(%s)::pg_catalog.text, (%s)::pg_catalog.timestamptz",
					watch->status,
					watch->amount ? watch->amount : "NULL",
					watch->customer ? watch->customer : "NULL",
					watch->since ? watch->since : "NULL");
}

/* Reads those columns of a result, from number "column" on. */
void
og_verify_read(int row, int column, OgPresent *present)
{
	present->found = true;
	present->status = og_query_text(row, column);
	present->amount = og_query_text(row, column + 1);
	present->customer = og_query_text(row, column + 2);
	present->since = og_query_null(row, column + 3) ? 0 :
		DatumGetTimestampTz(og_query_datum(row, column + 3));
}

static char *
make_query(const OgWatch *watch)
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
					 og_verify_columns(watch), watch->name);
	for (int i = 0; i < n; i++)
		appendStringInfo(&sql, "%s%s.%s = k.k%d::%s", i ? " AND " : "",
						 watch->alias, (char *) list_nth(watch->keys, i), i,
						 (char *) list_nth(watch->types, i));
	appendStringInfoString(&sql, ") AS f");
	return sql.data;
}

/*
 * og_verify_keys
 *		Reads orders by their keys; *present has an element for each.
 */
OgOwnerResult
og_verify_keys(OgWatch *watch, List *keys, OgPresent **present)
{
	int			nkeys = list_length(watch->keys);
	int			n = list_length(keys);
	Oid			types[OG_MAX_KEYS];
	Datum		arrays[OG_MAX_KEYS];
	Datum	   *values = palloc(n * nkeys * sizeof(Datum));
	bool	   *nulls = palloc0(n * nkeys * sizeof(bool));
	OgOwnerResult result;

	*present = palloc0(n * sizeof(OgPresent));
	if (nkeys == 0 || nkeys > OG_MAX_KEYS)
		return OG_OWNER_FAILED;
	for (int i = 0; i < n; i++)
	{
		List	   *fields = og_keytext_split(list_nth(keys, i), nkeys);

		for (int k = 0; k < nkeys; k++)
		{
			char	   *field = list_nth(fields, k);

			nulls[k * n + i] = field == NULL;
			if (field)
				values[k * n + i] = CStringGetTextDatum(field);
		}
	}
	for (int k = 0; k < nkeys; k++)
	{
		types[k] = TEXTARRAYOID;
		arrays[k] = og_query_array(values + k * n, nulls + k * n, n, TEXTOID);
	}
	result = og_owner_query(watch, make_query(watch), nkeys, types, arrays);
	if (result != OG_OWNER_DONE)
		return result;
	for (uint64 row = 0; row < SPI_processed; row++)
		og_verify_read(row, 1, &(*present)[DatumGetInt64(og_query_datum(row, 0)) - 1]);
	return OG_OWNER_DONE;
}
