/*
 * keytext.h
 *		Keys as text: of one column its value, of several the row's, "(a,b)".
 */
#ifndef OG_KEYTEXT_H
#define OG_KEYTEXT_H

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

#include "keyhash.h"

/* n fields, NULL for nulls; NULL if there are none */
extern char *og_keytext_join(char **fields, int n);

/*
 * The fields of a key of n columns, NULL for nulls, in the current memory
 * context.  Raises 22P02 if the text is not such a row.
 */
extern List *og_keytext_split(const char *key, int n);

/* The same without raising: NULL, or why the text is not such a row. */
extern const char *og_keytext_parse(const char *key, int n, List **fields);

/*
 * Appends "column OPERATOR(pg_catalog.=) 'value'::type", which an index can
 * serve and no search_path changes; IS NULL for NULL.
 */
extern void og_keytext_compare(StringInfo buf, Oid relation,
							   const char *column, const char *value);

/* "OPERATOR(pg_catalog.=)" */
extern char *og_keytext_equality(Oid type);

/* A column's text as a value of its base type; raises what that raises. */
extern Datum og_keytext_value(Oid relation, const char *column,
							  const char *text, Oid *base);
extern void og_keytext_add(OgKeyHash *hash, Oid relation, const char *column,
						   Datum value, bool isnull);

/* order_guard._key_hash(oid, name[], text) */
extern Datum og_keytext_hash(PG_FUNCTION_ARGS);

#endif							/* OG_KEYTEXT_H */
