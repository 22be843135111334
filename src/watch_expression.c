/*
 * watch_expression.c
 *		Status and amount expressions: checks and canonical text.
 *
 * Runs in the backend that calls watch(), as the caller, and in the worker
 * when a column was renamed.  An expression is parsed and analysed against
 * the table's columns, never planned or evaluated: no code of anybody's runs
 * here.  What is stored is the deparsed form, in which every function is
 * schema-qualified as needed and which holds no comments, so that the worker
 * may put it into a statement of its own.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "watch_ddl.h"

/* PostgreSQL 18's virtual generated columns */
#define OG_GENERATED_VIRTUAL 'v'

typedef struct ParseContext
{
	const char *sql;
	const char *table;
} ParseContext;

PG_FUNCTION_INFO_V1(og_expression_check);
PG_FUNCTION_INFO_V1(og_expression_rename);

/*
 * An error's position is one in our text, not in the client's statement.
 */
static void
explain_position(void *arg)
{
	ParseContext *context = arg;
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(context->sql);
	}
	errcontext("expression over a row of table \"%s\"", context->table);
}

static void
reject(int sqlstate, const char *what)
{
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("an expression over a row cannot contain %s", what),
			 errhint("Use columns of the row, constants, operators and "
					 "functions that are not volatile.")));
}

/*
 * The one expression of a SELECT that has nothing else.
 */
static Node *
parse_single(const char *sql)
{
	List	   *statements = raw_parser(sql, RAW_PARSE_DEFAULT);
	SelectStmt *select = NULL;
	ResTarget  *target = NULL;

	if (list_length(statements) == 1)
		select = (SelectStmt *) linitial_node(RawStmt, statements)->stmt;
	if (select != NULL && IsA(select, SelectStmt) &&
		list_length(select->targetList) == 1)
		target = linitial_node(ResTarget, select->targetList);

	if (target == NULL || target->name != NULL || target->indirection ||
		select->op != SETOP_NONE || select->distinctClause ||
		select->intoClause || select->fromClause || select->whereClause ||
		select->groupClause || select->havingClause ||
		select->windowClause || select->valuesLists ||
		select->sortClause || select->limitOffset || select->limitCount ||
		select->lockingClause || select->withClause)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("not a single expression over a row"),
				 errhint("Write one expression in parentheses, as in "
						 "\"(lower(state))\".")));
	return target->val;
}

/*
 * The relation's columns as a namespace, under the names of old.
 */
static void
open_namespace(ParseState *pstate, Relation relation, List *renames)
{
	ParseNamespaceItem *item;
	ListCell   *lc;

	item = addRangeTableEntryForRelation(pstate, relation, AccessShareLock,
										 NULL, false, true);
	foreach(lc, renames)
	{
		OgRename   *rename = lfirst(lc);
		List	   *names = item->p_rte->eref->colnames;

		if (rename->attnum > 0 && rename->attnum <= list_length(names))
			lfirst(list_nth_cell(names, rename->attnum - 1)) =
				makeString(pstrdup(rename->old_name));
	}
	addNSItemToQuery(pstate, item, true, true, true);
}

static Node *
transform(ParseState *pstate, Node *raw, bool is_amount)
{
	Node	   *expr = transformExpr(pstate, raw, EXPR_KIND_OTHER);
	Oid			type = exprType(expr);

	if (pstate->p_hasSubLinks)
		reject(ERRCODE_FEATURE_NOT_SUPPORTED, "a subquery");
	if (pstate->p_hasAggs)
		reject(ERRCODE_GROUPING_ERROR, "an aggregate function");
	if (pstate->p_hasWindowFuncs)
		reject(ERRCODE_WINDOWING_ERROR, "a window function");
	if (expression_returns_set(expr))
		reject(ERRCODE_FEATURE_NOT_SUPPORTED, "a set-returning function");
	assign_expr_collations(pstate, expr);
	if (contain_volatile_functions(expr))
		reject(ERRCODE_INVALID_OBJECT_DEFINITION, "a volatile function");

	if (is_amount &&
		!can_coerce_type(1, &type, (Oid[]) {NUMERICOID}, COERCION_EXPLICIT))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("an amount of type %s cannot be cast to numeric",
						format_type_be(type))));
	if (get_typtype(type) == TYPTYPE_PSEUDO && type != RECORDOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("an expression of type %s cannot be a status",
						format_type_be(type))));
	return expr;
}

/*
 * Which columns the expression reads; all for a whole-row reference.
 */
static Bitmapset *
find_columns(Relation relation, Node *expr)
{
	TupleDesc	desc = RelationGetDescr(relation);
	Bitmapset  *found = NULL;
	Bitmapset  *columns = NULL;
	bool		whole_row;

	pull_varattnos(expr, 1, &found);
	whole_row = bms_is_member(-FirstLowInvalidHeapAttributeNumber, found);
	for (int i = FirstLowInvalidHeapAttributeNumber + 1; i < 0; i++)
		if (bms_is_member(i - FirstLowInvalidHeapAttributeNumber, found))
			reject(ERRCODE_FEATURE_NOT_SUPPORTED, "a system column");

	for (int i = 1; i <= desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i - 1);
		int			member = i - FirstLowInvalidHeapAttributeNumber;

		if (att->attisdropped ||
			!(whole_row || bms_is_member(member, found)))
			continue;
		if (att->attgenerated == OG_GENERATED_VIRTUAL)
			reject(ERRCODE_FEATURE_NOT_SUPPORTED,
				   "a virtual generated column");
		columns = bms_add_member(columns, i);
	}
	if (columns == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("the expression reads no column of the row")));
	return columns;
}

/*
 * Text in exactly one pair of parentheses where deparsing adds one itself.
 */
static char *
canonical_text(Relation relation, Node *expr)
{
	char	   *name = RelationGetRelationName(relation);
	List	   *context = deparse_context_for(name,
											  RelationGetRelid(relation));
	char	   *text = deparse_expression(expr, context, false, false);

	switch (nodeTag(expr))
	{
		case T_OpExpr:
		case T_BoolExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_DistinctExpr:
		case T_ScalarArrayOpExpr:
			return text;
		default:
			return psprintf("(%s)", text);
	}
}

/*
 * Checks an expression and fills in result, in the caller's memory context.
 * renames: columns known to the text by another name (list of OgRename).
 * The caller holds a lock on relation.  Throws what is wrong with the text.
 */
void
og_expression_analyze(Relation relation, const char *text, bool is_amount,
					  List *renames, OgExpression *result)
{
	ParseState *pstate = make_parsestate(NULL);
	ParseContext context;
	ErrorContextCallback callback;
	Node	   *expr;

	context.sql = psprintf("SELECT %s", text);
	context.table = RelationGetRelationName(relation);
	callback.callback = explain_position;
	callback.arg = &context;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	pstate->p_sourcetext = context.sql;
	open_namespace(pstate, relation, renames);
	expr = transform(pstate, parse_single(context.sql), is_amount);
	result->columns = find_columns(relation, expr);
	result->type = exprType(expr);
	result->text = canonical_text(relation, expr);

	error_context_stack = callback.previous;
	free_parsestate(pstate);
}

/*
 * The columns' names as name[].
 */
Datum
og_expression_column_names(Relation relation, const OgExpression *expression)
{
	int			n = bms_num_members(expression->columns);
	Datum	   *names = palloc(sizeof(Datum) * Max(n, 1));
	int			column = -1;

	n = 0;
	while ((column = bms_next_member(expression->columns, column)) >= 0)
	{
		TupleDesc	desc = RelationGetDescr(relation);

		names[n++] = NameGetDatum(&TupleDescAttr(desc, column - 1)->attname);
	}
	return PointerGetDatum(construct_array(names, n, NAMEOID, NAMEDATALEN,
										   false, TYPALIGN_CHAR));
}

/*
 * _expression(relation, text, is_amount, OUT expression text,
 *			   OUT columns name[], OUT type regtype)
 *
 * Locks the table ACCESS SHARE until the transaction ends; for its owner.
 */
Datum
og_expression_check(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Relation	relation;
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(1));
	OgExpression expression;
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	og_watch_check_owner(relid);
	relation = table_open(relid, AccessShareLock);
	desc = BlessTupleDesc(desc);

	og_expression_analyze(relation, source, PG_GETARG_BOOL(2), NIL,
						  &expression);
	values[0] = CStringGetTextDatum(expression.text);
	values[1] = og_expression_column_names(relation, &expression);
	values[2] = ObjectIdGetDatum(expression.type);
	table_close(relation, NoLock);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/*
 * _expression_renamed(relation, text, attnums int2[], old_names name[])
 *		The same expression under the columns' present names.
 */
Datum
og_expression_rename(PG_FUNCTION_ARGS)
{
	Relation	relation = table_open(PG_GETARG_OID(0), AccessShareLock);
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(1));
	OgExpression expression;
	List	   *renames = NIL;
	Datum	   *attnums;
	Datum	   *names;
	int			nattnums;
	int			nnames;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), INT2OID, sizeof(int16), true,
					  TYPALIGN_SHORT, &attnums, NULL, &nattnums);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(3), NAMEOID, NAMEDATALEN, false,
					  TYPALIGN_CHAR, &names, NULL, &nnames);
	for (int i = 0; i < Min(nattnums, nnames); i++)
	{
		OgRename   *rename = palloc(sizeof(OgRename));

		rename->attnum = DatumGetInt16(attnums[i]);
		rename->old_name = NameStr(*DatumGetName(names[i]));
		renames = lappend(renames, rename);
	}
	og_expression_analyze(relation, source, false, renames, &expression);
	table_close(relation, NoLock);
	PG_RETURN_TEXT_P(cstring_to_text(expression.text));
}
