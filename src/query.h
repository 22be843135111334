/*
 * query.h
 *		Short forms of what the worker does with SPI.
 */
#ifndef OG_QUERY_H
#define OG_QUERY_H

#include "executor/spi.h"

typedef struct OgPlan
{
	const char *sql;
	SPIPlanPtr	plan;			/* kept */
} OgPlan;

extern void og_query_run(OgPlan *plan, int nargs, const Oid *types,
						 Datum *values, const char *nulls);
extern char *og_query_text(int row, int column);
extern List *og_query_texts(int row, int column);
extern bool og_query_null(int row, int column);
extern Datum og_query_datum(int row, int column);
extern Datum og_query_array(Datum *values, bool *nulls, int n, Oid type);

#endif							/* OG_QUERY_H */
