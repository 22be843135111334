/*
 * guard_condition.c
 *		The WHEN condition of the guard's trigger, and what takes its place.
 *
 * Runs in every backend.  What condition.c does for capture: before a
 * statement runs, an expression of ours is put where the executor would keep
 * the condition.  It notes the token right where the row was changed, and says
 * that nothing need be queued.  Statements that are not prepared so (COPY,
 * rows routed to a partition, logical replication) find the condition true,
 * and the trigger is called.  So does a token that is given by setting: its
 * row is not written in the middle of a statement.
 *
 * Only where both functions have been called in this backend before, so that
 * they are known to be ours and permitted.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "nodes/primnodes.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "guard.h"

typedef struct Guarded
{
	Oid			trigger;		/* hash key */
	char	   *text;			/* pg_trigger.tgqual, found to be ours */
	OgGuardSource source;
	ExprState	state;
} Guarded;

static HTAB *guarded = NULL;
static Oid	guarding = InvalidOid;	/* the function, when it was called */

PG_FUNCTION_INFO_V1(og_guard_condition);

/*
 * order_guard._guarding() returns boolean
 */
Datum
og_guard_condition(PG_FUNCTION_ARGS)
{
	guarding = fcinfo->flinfo->fn_oid;
	PG_RETURN_BOOL(true);
}

/* What takes its place: true if the trigger has to be called. */
static Datum
evaluate(ExprState *state, ExprContext *context, bool *isnull)
{
	Guarded    *entry = (Guarded *) ((char *) state -
									 offsetof(Guarded, state));

	*isnull = false;
	return BoolGetDatum(!og_guard_row(&entry->source,
									  context->ecxt_innertuple,
									  context->ecxt_outertuple));
}

static Guarded *
find_guarded(Oid trigger)
{
	HASHCTL		control = {0};
	Guarded    *entry;
	bool		found;

	if (guarded == NULL)
	{
		control.keysize = sizeof(Oid);
		control.entrysize = sizeof(Guarded);
		control.hcxt = TopMemoryContext;
		guarded = hash_create("order_guard guarded", 16, &control,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(guarded, &trigger, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) entry + sizeof(Oid), 0,
			   sizeof(Guarded) - sizeof(Oid));
		entry->state.type = T_ExprState;
		entry->state.flags = EEO_FLAG_IS_QUAL;
		entry->state.evalfunc = evaluate;
	}
	return entry;
}

/*
 * og_guard_says
 *		Does a condition call this function, without arguments, and no more?
 */
bool
og_guard_says(char *text, Oid function)
{
	FuncExpr   *call = (FuncExpr *) stringToNode(text);

	return IsA(call, FuncExpr) && call->funcid == function &&
		call->args == NIL;
}

static bool
fits(Guarded *entry, const Trigger *trigger)
{
	char	   *text;

	if (entry->text && strcmp(entry->text, trigger->tgqual) == 0)
		return true;
	if (!og_guard_says(trigger->tgqual, guarding))
		return false;
	text = MemoryContextStrdup(TopMemoryContext, trigger->tgqual);
	if (entry->text)
		pfree(entry->text);
	entry->text = text;
	return true;
}

static void
prepare(ResultRelInfo *info)
{
	TriggerDesc *triggers = info->ri_TrigDesc;

	if (triggers == NULL ||
		info->ri_RelationDesc->rd_rel->relkind != RELKIND_RELATION)
		return;
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];
		Guarded    *entry;

		if (trigger->tgfoid != og_guard_function ||
			trigger->tgqual == NULL || info->ri_TrigWhenExprs[i] != NULL ||
			!TRIGGER_FOR_AFTER(trigger->tgtype))
			continue;
		entry = find_guarded(trigger->tgoid);
		if (!fits(entry, trigger))
			continue;
		og_guard_describe(&entry->source, info->ri_RelationDesc, trigger);
		info->ri_TrigWhenExprs[i] = &entry->state;
	}
}

/*
 * og_guard_prepare
 *		After ExecutorStart.  Allocates in the current context.
 */
void
og_guard_prepare(QueryDesc *query)
{
	ListCell   *cell;

	if (!OidIsValid(guarding) || !OidIsValid(og_guard_function))
		return;
	foreach(cell, query->estate->es_opened_result_relations)
		prepare(lfirst(cell));
}
