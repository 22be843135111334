/*
 * condition.c
 *		The WHEN condition of a watch's row triggers, and what takes its place.
 *
 * Runs in every backend.  The condition, order_guard._itemising(watch), keeps
 * rows past the limit from being queued for the AFTER triggers.  PostgreSQL
 * parses and plans a condition anew in each statement, queues the row, reads
 * it again from the table and calls the trigger: of a short transaction that
 * is a tenth.  So before a statement runs, an expression of ours is put where
 * the executor would keep the condition that it has made.  It is evaluated
 * right after the row was changed, sees the old and the new one, notes them at
 * once and says that nothing need be queued.
 *
 * That is done for a condition that is known to say just this, of a trigger
 * that calls order_guard.capture(), and only once both functions have been
 * called in this backend, by a statement that went the long way: so they are
 * permitted, and their Oids known without a look into the catalog.  What is
 * not prepared (partitions to which rows are routed, COPY, logical
 * replication) goes the long way.
 *
 * The trigger before an insert has no condition.  It is given one that notes
 * the candidate and says that there is nothing to call.  A statement's
 * triggers are its own copy of the relation's.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "nodes/primnodes.h"
#include "replication/logicalworker.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "attempt.h"
#include "bulk.h"
#include "capture.h"
#include "columns.h"
#include "condition.h"
#include "target.h"

typedef struct Condition
{
	Oid			trigger;		/* hash key */
	Oid			relation;
	Oid			root;			/* its topmost table, when it was needed */
	uint32		watch;
	char	   *text;			/* pg_trigger.tgqual that names this watch */
	const OgCaptured *captured;
	/* Two, as a trigger may be replaced while a statement goes on. */
	ExprState	before;
	ExprState	after;
} Condition;

/* What was prepared the last time that a relation was written to. */
#define MAX_PREPARED	4

typedef struct Prepared
{
	const OgChanged *changed;	/* of the relation; NULL: nothing */
	uint32		as_of;
	Oid			itemising;
	int			n;
	struct
	{
		int			index;		/* of the trigger */
		Condition  *condition;
	}			trigger[MAX_PREPARED];
} Prepared;

static HTAB *conditions = NULL;
static Oid	itemising = InvalidOid; /* the function, when it was called */

PG_FUNCTION_INFO_V1(og_condition_itemising);

/*
 * Anybody may call the function: what is counted has to be of a statement
 * that writes to a table with such a trigger.  Logical replication knows of
 * no statements.
 */
static bool
itemise(uint32 watch)
{
	Oid			relation;

	if (!og_attempt_active())
		return false;
	if (og_attempt_queue())
		return true;
	relation = og_target_of_watch(watch);
	if (OidIsValid(relation) ||
		(og_attempt_running == NULL && IsLogicalWorker()))
		og_bulk_note_remembered(og_attempt_count(watch, relation));
	return false;
}

/*
 * order_guard._itemising(watch integer) returns boolean: is the row noted by
 * itself?  If not, it is counted.
 */
Datum
og_condition_itemising(PG_FUNCTION_ARGS)
{
	itemising = fcinfo->flinfo->fn_oid;
	/* 0 stands for all watches in the worker. */
	PG_RETURN_BOOL(PG_GETARG_INT32(0) <= 0 ||
				   itemise(PG_GETARG_INT32(0)));
}

/* What takes its place: condition and trigger in one. */
static Datum
evaluate(ExprState *state, ExprContext *context, bool *isnull)
{
	Condition  *condition = (Condition *) ((char *) state -
										   offsetof(Condition, after));

	if (og_attempt_active() && og_attempt_queue())
		og_capture_row(condition->captured, context->ecxt_innertuple,
					   context->ecxt_outertuple);
	else if (og_attempt_active())
	{
		if (!OidIsValid(condition->root))
			condition->root = og_target_root(condition->relation);
		og_bulk_note(og_attempt_count(condition->watch, condition->root),
					 condition->captured, context->ecxt_outertuple ?
					 context->ecxt_outertuple : context->ecxt_innertuple);
	}
	*isnull = false;
	return BoolGetDatum(false);
}

/* The same before a row is inserted. */
static Datum
evaluate_before(ExprState *state, ExprContext *context, bool *isnull)
{
	Condition  *condition = (Condition *) ((char *) state -
										   offsetof(Condition, before));

	if (og_attempt_active())
		og_capture_candidate(condition->captured, context->ecxt_outertuple);
	*isnull = false;
	return BoolGetDatum(false);
}

/*
 * og_condition_init
 *		In _PG_init, at server start.
 */
void
og_condition_init(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(Oid);
	control.entrysize = sizeof(Condition);
	control.hcxt = TopMemoryContext;
	conditions = hash_create("order_guard conditions", 64, &control,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static Condition *
find_condition(Oid trigger)
{
	bool		found;
	Condition  *condition = hash_search(conditions, &trigger, HASH_ENTER,
										&found);

	if (!found)
	{
		memset((char *) condition + sizeof(Oid), 0,
			   sizeof(Condition) - sizeof(Oid));
		condition->before.type = condition->after.type = T_ExprState;
		condition->before.flags = condition->after.flags = EEO_FLAG_IS_QUAL;
		condition->before.evalfunc = evaluate_before;
		condition->after.evalfunc = evaluate;
	}
	return condition;
}

/* Does a condition say order_guard._itemising(watch) and no more? */
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

/* Does this condition take the place of that of a trigger? */
static bool
fits(Condition *condition, const Trigger *trigger)
{
	uint32		watch = og_columns_watch(trigger);
	char	   *text;

	if (condition->text && condition->watch == watch &&
		strcmp(condition->text, trigger->tgqual) == 0)
		return true;
	if (!says_itemising(trigger->tgqual, watch))
		return false;
	text = MemoryContextStrdup(TopMemoryContext, trigger->tgqual);
	if (condition->text)
		pfree(condition->text);
	condition->text = text;
	condition->watch = watch;
	return true;
}

/* Does it run before each row that is inserted, and only then? */
static bool
is_before_insert(const Trigger *trigger)
{
	return trigger->tgtype == (TRIGGER_TYPE_ROW | TRIGGER_TYPE_BEFORE |
							   TRIGGER_TYPE_INSERT) &&
		trigger->tgqual == NULL;
}

static bool
is_after_row(const Trigger *trigger)
{
	return TRIGGER_FOR_ROW(trigger->tgtype) &&
		TRIGGER_FOR_AFTER(trigger->tgtype) && trigger->tgqual != NULL;
}

/* What takes the place of a trigger's condition; NULL: nothing does. */
static Condition *
understand(Relation relation, const Trigger *trigger)
{
	bool		before = is_before_insert(trigger);
	Condition  *condition;

	if (trigger->tgfoid != og_capture_function ||
		(!before && !is_after_row(trigger)))
		return NULL;
	condition = find_condition(trigger->tgoid);
	condition->relation = RelationGetRelid(relation);
	condition->root = InvalidOid;	/* it may have been detached */
	condition->captured = og_captured_find(relation, trigger);
	return before || fits(condition, trigger) ? condition : NULL;
}

static void
replace(ResultRelInfo *info, int index, Condition *condition)
{
	Trigger    *trigger = &info->ri_TrigDesc->triggers[index];

	if (info->ri_TrigWhenExprs[index] != NULL)
		return;
	info->ri_TrigWhenExprs[index] = TRIGGER_FOR_BEFORE(trigger->tgtype) ?
		&condition->before : &condition->after;
	if (trigger->tgqual == NULL)
		trigger->tgqual = "";	/* there is a condition */
}

/* Has nothing happened to the relation since this was prepared for it? */
static bool
is_prepared(const Prepared *known, ResultRelInfo *info)
{
	if (known->changed == NULL ||
		known->changed->relation != RelationGetRelid(info->ri_RelationDesc) ||
		known->as_of != known->changed->times || known->itemising != itemising)
		return false;
	for (int i = 0; i < known->n; i++)
		if (known->trigger[i].index >= info->ri_TrigDesc->numtriggers ||
			info->ri_TrigDesc->triggers[known->trigger[i].index].tgoid !=
			known->trigger[i].condition->trigger)
			return false;
	return true;
}

static void
prepare_anew(Prepared *known, ResultRelInfo *info)
{
	TriggerDesc *triggers = info->ri_TrigDesc;

	memset(known, 0, sizeof(*known));
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Condition  *condition = understand(info->ri_RelationDesc,
										   &triggers->triggers[i]);

		if (condition == NULL)
			continue;
		if (known->n == MAX_PREPARED)
			break;
		known->changed = condition->captured->changed;
		known->as_of = condition->captured->as_of;
		known->itemising = itemising;
		known->trigger[known->n].index = i;
		known->trigger[known->n++].condition = condition;
	}
}

static void
prepare(ResultRelInfo *info)
{
	static Prepared recent[16];
	Oid			relation = RelationGetRelid(info->ri_RelationDesc);
	Prepared   *known = &recent[relation % lengthof(recent)];

	/* A partitioned table has the events of its partitions, never its own. */
	if (info->ri_TrigDesc == NULL ||
		info->ri_RelationDesc->rd_rel->relkind != RELKIND_RELATION)
		return;
	if (!is_prepared(known, info))
		prepare_anew(known, info);
	for (int i = 0; i < known->n; i++)
		replace(info, known->trigger[i].index, known->trigger[i].condition);
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

	if (!OidIsValid(itemising) || !OidIsValid(og_capture_function))
		return;
	foreach(cell, query->estate->es_opened_result_relations)
		prepare(lfirst(cell));
}
