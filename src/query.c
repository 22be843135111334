/*
 * query.c
 *		Short forms of what is done with SPI and in sub-transactions.  Results
 *		are copied into the current memory context of the caller.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "query.h"

void
og_query_begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
og_query_commit(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/*
 * og_query_run
 *		Runs a statement on our own tables; its plan is kept for the life of
 *		the process.
 */
void
og_query_run(OgPlan *plan, int nargs, const Oid *types, Datum *values,
			 const char *nulls)
{
	MemoryContext context = CurrentMemoryContext;
	int			result;

	if (plan->plan == NULL)
	{
		plan->plan = SPI_prepare(plan->sql, nargs, (Oid *) types);
		if (plan->plan == NULL)
			elog(ERROR, "could not prepare \"%s\": %s", plan->sql,
				 SPI_result_code_string(SPI_result));
		SPI_keepplan(plan->plan);
	}
	result = SPI_execute_plan(plan->plan, values, nulls, false, 0);
	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", plan->sql,
			 SPI_result_code_string(result));
	/* SPI leaves us in the context of its connection. */
	MemoryContextSwitchTo(context);
}

/* Blocks of one of our own tables. */
static BlockNumber
table_blocks(const char *name)
{
	Oid			schema = get_namespace_oid("order_guard", false);
	Relation	relation = table_open(get_relname_relid(name, schema),
									  AccessShareLock);
	BlockNumber blocks = RelationGetNumberOfBlocks(relation);

	table_close(relation, AccessShareLock);
	return blocks;
}

/*
 * og_query_refresh_plans
 *		Has all plans made anew when a table has grown to twice its size: a
 *		kept one may still be for an empty table, which is read as a whole.
 *		ANALYZE would do the same, but comes too late in a storm.
 */
void
og_query_refresh_plans(void)
{
	static const char *const growing[] = {
		"attempt", "incident", "action", "tracked", "token_use", "policy_try"
	};
	static BlockNumber planned[lengthof(growing)];
	bool		outdated = false;

	for (int i = 0; i < lengthof(growing); i++)
	{
		BlockNumber blocks = table_blocks(growing[i]);

		if (blocks / 2 <= planned[i])
			continue;
		planned[i] = blocks;
		outdated = true;
	}
	if (outdated)
		ResetPlanCache();
}

ErrorData *
og_query_undo(MemoryContext context, ResourceOwner owner)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

bool
og_query_null(int row, int column)
{
	bool		isnull;

	SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column + 1,
				  &isnull);
	return isnull;
}

/* By value, or valid as long as the result is. */
Datum
og_query_datum(int row, int column)
{
	bool		isnull;

	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						 column + 1, &isnull);
}

char *
og_query_text(int row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						column + 1);
}

/* A text[] as a list of strings. */
List *
og_query_texts(int row, int column)
{
	List	   *texts = NIL;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	if (og_query_null(row, column))
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(og_query_datum(row, column)),
					  TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
		texts = lappend(texts, nulls[i] ? NULL :
						TextDatumGetCString(elements[i]));
	return texts;
}

Datum
og_query_array(Datum *values, bool *nulls, int n, Oid type)
{
	int			lower = 1;
	int16		length;
	bool		byval;
	char		align;

	get_typlenbyvalalign(type, &length, &byval, &align);
	return PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lower,
											  type, length, byval, align));
}
