/*
 * outcome.c
 *		What became of an order: the judge.
 *
 * Runs in whoever asks, writes nothing.  Three witnesses are asked in the
 * order in which an order's work moves on, so that none slips by: the
 * journal, the recorded attempts, the table.  Each is read as it is at that
 * moment, also in a transaction with an old snapshot.
 *
 * A transaction leaves the journal only after what it did can be seen in the
 * tables, and its end is noted there only when it can be seen.  So:
 *
 * - a row that is found has committed, whatever the journal said before;
 * - if there is none, what had ended before the look at the table left none;
 * - what was open or prepared before that look and still is afterwards was so
 *   all the time.  If it has ended in between, all are asked again.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/tuplestore.h"
#include "utils/xid8.h"

#include "compat.h"
#include "keytext.h"
#include "outcome_private.h"
#include "query.h"
#include "trust.h"
#include "views.h"

PG_FUNCTION_INFO_V1(og_outcome_by_key);
PG_FUNCTION_INFO_V1(og_outcome_by_token);
PG_FUNCTION_INFO_V1(og_outcome_judge);
PG_FUNCTION_INFO_V1(og_outcome_reads_as);

#define TRACE_COLUMNS 13
#define MAX_ROUNDS 100

static void
answer_unknown(OgTrace *trace, const char *because)
{
	memset(trace, 0, sizeof(*trace));
	trace->outcome = "unknown";
	trace->because = because;
}

static bool
is_open(const OgTrace *trace)
{
	return trace->outcome && strcmp(trace->outcome, "in_flight") == 0;
}

static bool
is_prepared(const OgTrace *trace)
{
	return trace->outcome && strcmp(trace->outcome, "prepared") == 0;
}

/* Has a prepared transaction been finished, by whomever? */
static bool
is_finished(const OgTrace *trace)
{
	TransactionId xid = (TransactionId) trace->xid;

	return !TransactionIdIsValid(xid) || !TransactionIdIsInProgress(xid);
}

/* Is the same transaction still at work on the order? */
static bool
still_open(const OgOrder *order, const OgTrace *trace)
{
	OgTrace		now;
	OgTrace		bulk;

	og_outcome_journal(order, &now, &bulk);
	if (strcmp(trace->basis, "bulk") == 0)
		return is_open(&bulk) && bulk.pid == trace->pid;
	return is_open(&now) && memcmp(&now.xact, &trace->xact,
								   sizeof(now.xact)) == 0;
}

/* Is this a change to the order that is not decided yet? */
static bool
is_change(const OgTrace *trace)
{
	return (is_open(trace) || (is_prepared(trace) && !is_finished(trace))) &&
		trace->operation != 'I';
}

/* Committed, but its client may not have heard. */
static bool
is_unheard(const OgTrace *trace)
{
	return trace->outcome && strcmp(trace->outcome, "unacknowledged") == 0;
}

/*
 * A row was found.  What is going on with it makes the answer one for the
 * time being.
 */
static void
judge_row(OgTrace *row, const OgTrace *journal, const OgTrace *attempt)
{
	const OgTrace *change = is_change(journal) ? journal : attempt;

	if (is_open(row))
	{
		if (is_open(journal))
			*row = *journal;
		return;
	}
	if (is_unheard(attempt))
		row->reason = row->reason ? psprintf("%s; %s", attempt->reason,
											 row->reason) : attempt->reason;
	if (!is_change(change))
		return;
	row->final = false;
	row->pid = change->pid;
	row->gid = change->gid;
	row->reason = change->reason;
}

/* A prepared transaction that was over before the table was looked at. */
static void
judge_finished(OgTrace *trace)
{
	TransactionId xid = (TransactionId) trace->xid;
	bool		known;
	bool		committed = false;

	LWLockAcquire(XactTruncationLock, LW_SHARED);
	known = TransactionIdIsNormal(xid) &&
		TransactionIdFollowsOrEquals(xid, OG_OLDEST_CLOG_XID);
	if (known)
		committed = TransactionIdDidCommit(xid);
	LWLockRelease(XactTruncationLock);
	if (!known)
		answer_unknown(trace, "prepared_finished");
	else if (committed || trace->operation != 'I')
		answer_unknown(trace, "row_gone");
	else
	{
		trace->outcome = "rolled_back";
		trace->reason = "the prepared transaction was rolled back";
		trace->at = 0;
		trace->final = true;
	}
}

/* Nothing tells of the order. */
static void
judge_nothing(const OgOrder *order, const OgTrace *bulk, OgTrace *trace)
{
	const char *past;

	if (is_open(bulk))
	{
		*trace = *bulk;
		return;
	}
	past = og_outcome_past(order);
	answer_unknown(trace, past ? past : order->gap ? order->gap : "no_trace");
	if (past == NULL && order->gap == NULL)
		og_outcome_loss(order, trace);
}

/*
 * There is no row, or none for the caller to see.  trace: what is known from
 * before the table was looked at; it becomes the answer.
 */
static void
judge_absent(const OgOrder *order, const OgTrace *bulk, OgTrace *trace)
{
	if (check_enable_rls(order->relation, InvalidOid, true) == RLS_ENABLED)
		answer_unknown(trace, "not_visible_to_you");
	else if (RecoveryInProgress())
		answer_unknown(trace, "in_recovery");
	else if (trace->outcome == NULL)
		judge_nothing(order, bulk, trace);
	else if (strcmp(trace->outcome, "unknown") == 0)
		answer_unknown(trace, trace->because);
	else if (strcmp(trace->outcome, "committed") == 0 ||
			 is_unheard(trace) ||
			 (strcmp(trace->outcome, "rolled_back") == 0 &&
			  trace->operation != 'I' && trace->operation != '?'))
		answer_unknown(trace, "row_gone");
	else if (is_open(trace) || is_prepared(trace))
		trace->final = false;
	if (order->gap || is_open(bulk))
		trace->final = false;
}

/* One round; false if what changed meanwhile makes it prove nothing. */
static bool
judge_once(const OgOrder *order, OgTrace *answer)
{
	OgTrace		journal;
	OgTrace		bulk;
	OgTrace		attempt;
	bool		finished = false;

	og_outcome_journal(order, &journal, &bulk);
	og_outcome_attempt(order, &attempt);
	if (journal.outcome == NULL && is_prepared(&attempt))
		finished = is_finished(&attempt);
	else if (is_prepared(&journal))
		finished = is_finished(&journal);
	og_outcome_row(order, &journal, answer);
	if (answer->outcome)
	{
		judge_row(answer, &journal, &attempt);
		return true;
	}
	*answer = journal.outcome ? journal : attempt;
	if (is_open(answer) && !still_open(order, answer))
		return false;
	if (is_prepared(answer) && finished)
		judge_finished(answer);
	else if (is_prepared(answer) && is_finished(answer))
		return false;
	else if (answer->outcome == NULL && is_open(&bulk) &&
			 !still_open(order, &bulk))
		return false;
	judge_absent(order, &bulk, answer);
	return true;
}

static void
judge(const OgOrder *order, OgTrace *answer)
{
	for (int round = 0; round < MAX_ROUNDS; round++)
	{
		CHECK_FOR_INTERRUPTS();
		if (judge_once(order, answer))
			return;
	}
	answer_unknown(answer, "changing");
}

/* ------------------------------------------------------------------------
 * What is asked for
 * ------------------------------------------------------------------------
 */

static void
ask_for_key(OgOrder *order, const char *key)
{
	List	   *fields = og_keytext_split(key, list_length(order->keys));
	OgKeyHash	hash;

	og_keyhash_begin(&hash);
	for (int i = 0; i < list_length(fields); i++)
	{
		const char *field = list_nth(fields, i);

		order->column[i] = list_nth(order->keys, i);
		order->null[i] = field == NULL;
		order->value[i] = og_keytext_value(order->relation, order->column[i],
										   field, &order->type[i]);
		og_keytext_add(&hash, order->relation, order->column[i],
					   order->value[i], order->null[i]);
	}
	order->nvalues = list_length(fields);
	order->by_key = true;
	memcpy(order->hash, hash.half, sizeof(order->hash));
	order->wanted.hash = order->hash;
}

/* A value as capture notes it. */
static void
set_bytes(OgWanted *wanted, Datum *value, Oid type)
{
	int16		length;
	bool		byval;

	get_typlenbyval(type, &length, &byval);
	wanted->token = byval ? (char *) value : DatumGetPointer(*value);
	wanted->length = byval ? sizeof(Datum) : length;
	if (length == -1)
	{
		struct varlena *datum = PG_DETOAST_DATUM_PACKED(*value);

		wanted->token = VARDATA_ANY(datum);
		wanted->length = VARSIZE_ANY_EXHDR(datum);
	}
	else if (length == -2)
		wanted->length = strlen(wanted->token);
}

static void
ask_for_token(OgOrder *order, const char *token)
{
	Oid			output;
	bool		varlena;

	order->column[0] = order->token;
	order->value[0] = og_keytext_value(order->relation, order->token, token,
									   &order->type[0]);
	order->nvalues = 1;
	getTypeOutputInfo(order->type[0], &output, &varlena);
	order->token = OidOutputFunctionCall(output, order->value[0]);
	set_bytes(&order->wanted, &order->value[0], order->type[0]);
}

/* A token that was given by setting stands in no column. */
static void
ask_for_setting(OgOrder *order, char *token)
{
	order->token = token;
	order->wanted.token = token;
	order->wanted.length = strlen(token);
}

static Datum
make_result(FunctionCallInfo fcinfo, const OgTrace *trace)
{
	TupleDesc	descriptor;
	Datum		values[TRACE_COLUMNS] = {0};
	bool		nulls[TRACE_COLUMNS] = {0};
	char		operation[2] = {trace->operation, '\0'};

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	og_views_set_text(values, nulls, 0, trace->outcome);
	og_views_set_text(values, nulls, 1, operation[0] ? operation : NULL);
	og_views_set_text(values, nulls, 2, trace->key);
	og_views_set_text(values, nulls, 3, trace->status);
	og_views_set_text(values, nulls, 4, trace->sqlstate);
	og_views_set_text(values, nulls, 5, trace->reason);
	og_views_set_text(values, nulls, 6, trace->basis);
	og_views_set_text(values, nulls, 7, trace->because);
	nulls[8] = trace->pid == 0;
	values[8] = Int32GetDatum(trace->pid);
	og_views_set_text(values, nulls, 9, trace->gid);
	nulls[10] = trace->xid == 0;
	values[10] =
		FullTransactionIdGetDatum(FullTransactionIdFromU64(trace->xid));
	nulls[11] = trace->at == 0;
	values[11] = TimestampTzGetDatum(trace->at);
	values[12] = BoolGetDatum(trace->final);
	BlessTupleDesc(descriptor);
	return HeapTupleGetDatum(heap_form_tuple(descriptor, values, nulls));
}

/*
 * order_guard._judge(relation regclass, key text, token text)
 *		The outcome of one order of a watched table that the caller may
 *		SELECT: by its key, or by a token.  With a token it was not the
 *		caller who named the table.
 */
Datum
og_outcome_judge(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context =
		AllocSetContextCreate(caller, "order_guard outcome",
							  ALLOCSET_DEFAULT_SIZES);
	Oid			relation = PG_GETARG_OID(0);
	OgOrder    *order;
	OgTrace		answer;
	Datum		result;

	SPI_connect();
	MemoryContextSwitchTo(context);
	order = og_outcome_order(relation);
	if (order == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s is not watched", get_rel_name(relation))));
	order->wanted.watch = order->watch;
	order->named = PG_ARGISNULL(2);
	if (!order->named)
		og_trust_limit(OG_TRUST_READ);
	if (!PG_ARGISNULL(1))
		ask_for_key(order, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	else if (order->token && !PG_ARGISNULL(2))
		ask_for_token(order, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	else if (!PG_ARGISNULL(2))
		ask_for_setting(order, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	else
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("key and token are both null")));
	judge(order, &answer);
	if (!order->named)
		og_trust_lift();
	MemoryContextSwitchTo(caller);
	result = make_result(fcinfo, &answer);
	SPI_finish();
	MemoryContextDelete(context);
	PG_RETURN_DATUM(result);
}

/*
 * order_guard._reads_as(relation oid, "column" name, value text)
 *		Raises the error of the column's type if the text is none.
 */
Datum
og_outcome_reads_as(PG_FUNCTION_ARGS)
{
	Oid			type;

	(void) og_keytext_value(PG_GETARG_OID(0), NameStr(*PG_GETARG_NAME(1)),
							text_to_cstring(PG_GETARG_TEXT_PP(2)), &type);
	PG_RETURN_BOOL(true);
}

/*
 * Gives what a query answers.  A function in SQL would plan it in each call.
 */
static void
put_answers(FunctionCallInfo fcinfo, OgPlan *plan, int nargs,
			const Oid *types)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[2] = {0};

	for (int i = 0; i < nargs; i++)
		values[i] = PG_GETARG_DATUM(i);
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	og_query_run(plan, nargs, types, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[row]);
	SPI_finish();
}

/*
 * order_guard.outcome(relation regclass, key text)
 */
Datum
og_outcome_by_key(PG_FUNCTION_ARGS)
{
	static OgPlan plan = {
		"SELECT o.* FROM order_guard._outcome($1, $2) o", NULL
	};
	Oid			types[] = {REGCLASSOID, TEXTOID};

	put_answers(fcinfo, &plan, 2, types);
	return (Datum) 0;
}

/*
 * order_guard.outcome(token text)
 */
Datum
og_outcome_by_token(PG_FUNCTION_ARGS)
{
	static OgPlan plan = {
		"SELECT o.* FROM order_guard._outcome($1) o", NULL
	};
	Oid			types[] = {TEXTOID};

	put_answers(fcinfo, &plan, 1, types);
	return (Datum) 0;
}
