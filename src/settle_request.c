/*
 * settle_request.c
 *		settle(), as its caller sees it.
 *
 * Runs in any backend: puts the request into shared memory, wakes the worker
 * and waits for the answer, at most until the time-out.  Nothing of it is the
 * caller's transaction's, which may be read-only, or be rolled back.
 *
 * Who may settle: the owner of all guarded tables, since a tombstone holds in
 * all of them.  He lets others do it by a function of his own that is SECURITY
 * DEFINER.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "guard.h"
#include "rights.h"
#include "settle.h"
#include "slot.h"

#define LONGEST_S		3600.0	/* no call waits longer */
#define RETRY_MS		10
#define COLUMNS			6

PG_FUNCTION_INFO_V1(og_settle_token);

static OgSettleRequest *mine = NULL;

/* Nobody waits for this request any more. */
static void
abandon(int code, Datum arg)
{
	if (mine == NULL)
		return;
	LWLockAcquire(og_settle->lock, LW_EXCLUSIVE);
	if (mine->state == OG_SETTLE_SERVED)
		mine->abandoned = true;
	else
		mine->state = OG_SETTLE_FREE;
	LWLockRelease(og_settle->lock);
	mine = NULL;
}

static TimestampTz
parse_timeout(const Interval *timeout)
{
	double		seconds = timeout->time / 1000000.0 +
		timeout->day * 86400.0 + timeout->month * (30 * 86400.0);

	if (seconds < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must not be negative")));
	return GetCurrentTimestamp() +
		(TimestampTz) (Min(seconds, LONGEST_S) * 1000000.0);
}

/* The owners of all guarded tables have to agree. */
static void
check_rights(void)
{
	OgRights	saved;
	uint64		n;
	Oid		   *relation;
	bool		isnull;

	SPI_connect();
	og_rights_raise(&saved);
	SPI_execute("SELECT w.relation::oid FROM order_guard.watch w "
				"WHERE order_guard._is_guarded(w.options)", true, 0);
	og_rights_restore(&saved);
	n = SPI_processed;
	relation = palloc(sizeof(Oid) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
		relation[i] = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
													 SPI_tuptable->tupdesc, 1,
													 &isnull));
	for (uint64 i = 0; i < n; i++)
		if (!og_rights_owns(relation[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to settle tokens"),
					 errdetail("A token is settled for all guarded tables; "
							   "you do not own all of them.")));
	SPI_finish();
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no watched table lets its tokens be settled"),
				 errhint("Call order_guard.watch() with "
						 "options => '{\"settle\": true}'.")));
}

static void
check_call(char *const *forms, int n)
{
	og_slot_require();
	og_slot_refuse_worker();
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("settle() cannot run during recovery"),
				 errhint("Run it on the primary server.")));
	check_rights();
	for (int i = 0; i < n; i++)
		if (strlen(forms[i]) > OG_TOKEN_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a token of more than %d bytes cannot be settled",
							OG_TOKEN_MAX)));
}

static void
report_own(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("settle() cannot settle a token of the transaction that "
					"calls it"),
			 errhint("COMMIT or ROLLBACK first.")));
}

static OgSettleRequest *
take_request(void)
{
	OgSettleRequest *request = NULL;

	LWLockAcquire(og_settle->lock, LW_EXCLUSIVE);
	for (int i = 0; i < OG_SETTLE_REQUESTS && request == NULL; i++)
		if (og_settle->request[i].state == OG_SETTLE_FREE)
			request = &og_settle->request[i];
	if (request)
	{
		request->state = OG_SETTLE_ANSWERED;	/* taken, not asked yet */
		request->abandoned = false;
	}
	LWLockRelease(og_settle->lock);
	return request;
}

static void
pause_a_while(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 RETRY_MS, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static void
fill_request(char *const *forms, int n, bool cancel, TimestampTz until)
{
	char	   *by = og_rights_who();

	mine->database = MyDatabaseId;
	mine->pid = MyProcPid;
	mine->cancel = cancel;
	mine->until = until;
	mine->nforms = n;
	for (int i = 0; i < n; i++)
		strlcpy(mine->form[i], forms[i], sizeof(mine->form[i]));
	strlcpy(mine->by, by, sizeof(mine->by));
	LWLockAcquire(og_settle->lock, LW_EXCLUSIVE);
	mine->state = OG_SETTLE_ASKED;
	LWLockRelease(og_settle->lock);
}

static bool
is_answered(OgSettleRequest *copy)
{
	bool		answered;

	LWLockAcquire(og_settle->lock, LW_SHARED);
	answered = mine->state == OG_SETTLE_ANSWERED;
	if (answered)
		memcpy(copy, mine, sizeof(*copy));
	LWLockRelease(og_settle->lock);
	return answered;
}

static void
report_timeout(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("settle() was not answered within its timeout"),
			 errdetail("The token may be settled or not; asking again "
					   "tells."),
			 errhint("See order_guard.stat_worker and the server log, or "
					 "give a longer timeout.")));
}

static void
wait_for_answer(OgSettleRequest *copy, TimestampTz until)
{
	ConditionVariablePrepareToSleep(&mine->answered);
	while (!is_answered(copy))
	{
		TimestampTz now = GetCurrentTimestamp();

		CHECK_FOR_INTERRUPTS();
		/* Told a little earlier, the worker's reason is the better one. */
		if (now >= until + 100000)
			report_timeout();
		(void) ConditionVariableTimedSleep(&mine->answered, 100,
										   PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* Asks once; the answer is copied. */
static void
ask(char *const *forms, int n, bool cancel, TimestampTz until,
	OgSettleRequest *copy)
{
	while ((mine = take_request()) == NULL)
	{
		if (GetCurrentTimestamp() >= until)
			report_timeout();
		pause_a_while();
	}
	PG_ENSURE_ERROR_CLEANUP(abandon, (Datum) 0);
	{
		fill_request(forms, n, cancel, until);
		og_slot_wake_worker();
		wait_for_answer(copy, until);
	}
	PG_END_ENSURE_ERROR_CLEANUP(abandon, (Datum) 0);
	abandon(0, (Datum) 0);
}

/* A lock that was held for a moment is waited for here, not by the worker. */
static void
ask_again(char *const *forms, int n, bool cancel, TimestampTz until,
		  OgSettleRequest *copy)
{
	for (;;)
	{
		ask(forms, n, cancel, until, copy);
		if (copy->result != OG_SETTLE_FAILED ||
			copy->sqlstate != ERRCODE_LOCK_NOT_AVAILABLE ||
			GetCurrentTimestamp() >= until)
			return;
		pause_a_while();
	}
}

static const char *
outcome_name(OgSettleResult result)
{
	switch (result)
	{
		case OG_SETTLE_COMMITTED:
			return "committed";
		case OG_SETTLE_IN_FLIGHT:
			return "in_flight";
		case OG_SETTLE_PREPARED:
			return "prepared";
		default:
			return "settled";
	}
}

static Datum
make_row(FunctionCallInfo fcinfo, const OgSettleRequest *reply)
{
	Datum		values[COLUMNS] = {0};
	bool		nulls[COLUMNS] = {0};
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = CStringGetTextDatum(outcome_name(reply->result));
	values[1] = ObjectIdGetDatum(reply->relation);
	nulls[1] = !OidIsValid(reply->relation);
	values[2] = Int32GetDatum(reply->holder);
	nulls[2] = reply->holder == 0;
	nulls[3] = reply->result != OG_SETTLE_PREPARED;
	if (!nulls[3])
		values[3] = CStringGetTextDatum(reply->text);
	values[4] = TransactionIdGetDatum(reply->xid);
	nulls[4] = !TransactionIdIsValid(reply->xid);
	values[5] = BoolGetDatum(reply->result == OG_SETTLE_COMMITTED ||
							 reply->result == OG_SETTLE_SETTLED);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values,
											 nulls));
}

/*
 * order_guard._settle(forms text[], cancel boolean, timeout interval)
 */
Datum
og_settle_token(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	TimestampTz until = parse_timeout(PG_GETARG_INTERVAL_P(2));
	OgSettleRequest reply;
	char	   *forms[OG_SETTLE_FORMS];
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, &n);
	if (n < 1 || n > OG_SETTLE_FORMS || array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("forms of a token are 1 to %d texts",
						OG_SETTLE_FORMS)));
	for (int i = 0; i < n; i++)
		forms[i] = TextDatumGetCString(elements[i]);
	check_call(forms, n);
	for (int i = 0; i < n; i++)
		if (og_guard_holds(forms[i]))
			report_own();
	ask_again(forms, n, PG_GETARG_BOOL(1), until, &reply);
	if (reply.result == OG_SETTLE_OWN)
		report_own();
	if (reply.result == OG_SETTLE_FAILED)
		ereport(ERROR,
				(errcode(reply.sqlstate),
				 errmsg("settle() failed: %s", reply.text)));
	PG_RETURN_DATUM(make_row(fcinfo, &reply));
}
