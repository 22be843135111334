/*
 * condition.c
 *		The WHEN condition of a watch's row triggers, without its price.
 *
 * Runs in every backend.  The condition, order_guard._itemising(watch), keeps
 * rows past the limit from being queued for the AFTER triggers.  PostgreSQL
 * parses and plans conditions anew in each statement, which costs a statement
 * of one row a tenth of its time.  So before a statement runs its conditions
 * are put where the executor keeps them once it has made them, as one that
 * only calls og_attempt_itemise().
 *
 * That is done for a text that is known to say just this, and only once the
 * function itself has been called in this backend, by a statement that went
 * the long way: so it is permitted, and the function's Oid is known without a
 * look into the catalog.  Whatever is not prepared (partitions to which tuples
 * are routed, COPY) goes the long way.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "nodes/primnodes.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/reltrigger.h"

#include "attempt.h"
#include "columns.h"
#include "condition.h"

typedef struct Condition
{
	uint32		watch;			/* hash key */
	char	   *text;			/* pg_trigger.tgqual that says this */
	ExprState	state;
} Condition;

static HTAB *conditions = NULL;
static Oid	itemising = InvalidOid; /* the function, when it was called */

PG_FUNCTION_INFO_V1(og_condition_itemising);

static bool
itemise(uint32 watch)
{
	return og_attempt_active() && og_attempt_itemise(watch);
}

/*
 * order_guard._itemising(watch integer) returns boolean: is the row noted by
 * itself?  If not, it is counted.
 */
Datum
og_condition_itemising(PG_FUNCTION_ARGS)
{
	itemising = fcinfo->flinfo->fn_oid;
	PG_RETURN_BOOL(itemise(PG_GETARG_INT32(0)));
}

/* The same, called in place of the interpreter of expressions. */
static Datum
evaluate(ExprState *state, ExprContext *context, bool *isnull)
{
	Condition  *condition = (Condition *) ((char *) state -
										   offsetof(Condition, state));

	*isnull = false;
	return BoolGetDatum(itemise(condition->watch));
}

/*
 * og_condition_init
 *		In _PG_init, at server start.
 */
void
og_condition_init(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(uint32);
	control.entrysize = sizeof(Condition);
	control.hcxt = TopMemoryContext;
	conditions = hash_create("order_guard conditions", 16, &control,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Does a condition's text say order_guard._itemising(watch) and no more? */
static bool
says_itemising(char *text, uint32 watch)
{
	FuncExpr   *call = (FuncExpr *) stringToNode(text);
	Const	   *argument;

	if (!IsA(call, FuncExpr) || call->funcid != itemising ||
		list_length(call->args) != 1 || !IsA(linitial(call->args), Const))
		return false;
	argument = linitial_node(Const, call->args);
	return argument->consttype == INT4OID && !argument->constisnull &&
		DatumGetInt32(argument->constvalue) == (int32) watch;
}

/* What to evaluate in place of a trigger's condition, or NULL. */
static ExprState *
find(const Trigger *trigger)
{
	uint32		watch = og_columns_watch(trigger);
	Condition  *condition = hash_search(conditions, &watch, HASH_FIND, NULL);
	char	   *text;

	if (condition && strcmp(condition->text, trigger->tgqual) == 0)
		return &condition->state;
	if (!says_itemising(trigger->tgqual, watch))
		return NULL;
	text = MemoryContextStrdup(TopMemoryContext, trigger->tgqual);
	if (condition == NULL)
	{
		condition = hash_search(conditions, &watch, HASH_ENTER, NULL);
		memset(&condition->state, 0, sizeof(condition->state));
		condition->state.type = T_ExprState;
		condition->state.flags = EEO_FLAG_IS_QUAL;
		condition->state.evalfunc = evaluate;
	}
	else
		pfree(condition->text);
	condition->text = text;
	return &condition->state;
}

static void
prepare(ResultRelInfo *info)
{
	TriggerDesc *triggers = info->ri_TrigDesc;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (trigger->tgqual && info->ri_TrigWhenExprs[i] == NULL &&
			og_columns_is_ours(trigger))
			info->ri_TrigWhenExprs[i] = find(trigger);
	}
}

/*
 * og_condition_prepare
 *		After ExecutorStart of a statement that writes to watched relations.
 *		Allocates in the current context.
 */
void
og_condition_prepare(QueryDesc *query)
{
	ListCell   *cell;

	if (!OidIsValid(itemising))
		return;
	foreach(cell, query->estate->es_opened_result_relations)
		prepare(lfirst(cell));
}
