/*
 * query.h
 *		Short forms of what is done with SPI and in sub-transactions.
 */
#ifndef OG_QUERY_H
#define OG_QUERY_H

#include "executor/spi.h"
#include "utils/resowner.h"

typedef struct OgPlan
{
	const char *sql;
	SPIPlanPtr	plan;			/* kept */
} OgPlan;

/* A transaction of the worker, SPI connected and a snapshot active. */
extern void og_query_begin(void);
extern void og_query_commit(void);

extern void og_query_refresh_plans(void);
extern void og_query_run(OgPlan *plan, int nargs, const Oid *types,
						 Datum *values, const char *nulls);
extern char *og_query_text(int row, int column);
extern List *og_query_texts(int row, int column);
extern bool og_query_null(int row, int column);
extern Datum og_query_datum(int row, int column);
extern Datum og_query_array(Datum *values, bool *nulls, int n, Oid type);

/*
 * In PG_CATCH() of a sub-transaction: undoes it, and goes on in the memory
 * context and with the resource owner of before.  The error, in that context.
 */
extern ErrorData *og_query_undo(MemoryContext context, ResourceOwner owner);

#endif							/* OG_QUERY_H */
