/*
 * watch_ddl.c
 *		What watch() and unwatch() cannot do in SQL: lock a table without
 *		queueing, and write the extension's tables for a table's owner.
 *
 * Runs in the caller's backend, and in the worker for repairs.  watch() runs
 * with its caller's rights, so anybody may call the functions here directly;
 * each therefore checks that its caller owns the table before it does
 * anything else.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/wait_event.h"

#include "columns.h"
#include "compat.h"
#include "trust.h"
#include "watch.h"
#include "watch_ddl.h"

#define LOCK_RETRY_MS		10
#define LOCK_TIMEOUT_MAX_MS (3600 * 1000)

/* attributes of order_guard.watch, checked by name before use */
typedef enum WatchAttribute
{
	WATCH_RELATION = 2,
	WATCH_STATUS = 4,
	WATCH_STATUS_COLUMNS = 5,
	WATCH_AMOUNT = 10,
	WATCH_CREATED_AT = 13,
	WATCH_CREATED_BY = 14
} WatchAttribute;

PG_FUNCTION_INFO_V1(og_watch_lock);
PG_FUNCTION_INFO_V1(og_watch_save);
PG_FUNCTION_INFO_V1(og_watch_forget);
PG_FUNCTION_INFO_V1(og_watch_split_arguments);

/*
 * Throws unless the current role owns the relation.
 */
void
og_watch_check_owner(Oid relation)
{
	char	   *name = get_rel_name(relation);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table with OID %u does not exist", relation)));
	if (!og_owns_relation(relation, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table \"%s\"", name),
				 errhint("Only the owner of a table or a superuser may "
						 "watch it or end that.")));
}

static void
unlock_all(List *relations, LOCKMODE mode)
{
	ListCell   *lc;

	foreach(lc, relations)
		UnlockRelationOid(lfirst_oid(lc), mode);
}

/*
 * Lock a relation, and its partitions unless only readers are kept in, or
 * nothing at all.  Returns InvalidOid, or the relation that was busy.
 */
static Oid
try_lock(Oid relation, LOCKMODE mode)
{
	List	   *held;
	List	   *tree;
	ListCell   *lc;

	if (!ConditionalLockRelationOid(relation, mode))
		return relation;
	if (mode == AccessShareLock)
		return InvalidOid;

	/* a partitioned table's lock keeps partitions from coming and going */
	held = list_make1_oid(relation);
	if (get_rel_relkind(relation) != RELKIND_PARTITIONED_TABLE)
		return InvalidOid;
	for (;;)
	{
		int			before = list_length(held);

		tree = find_all_inheritors(relation, NoLock, NULL);
		foreach(lc, tree)
		{
			Oid			member = lfirst_oid(lc);

			if (list_member_oid(held, member))
				continue;
			if (!ConditionalLockRelationOid(member, mode))
			{
				unlock_all(held, mode);
				return member;
			}
			held = lappend_oid(held, member);
		}
		/* partitioned partitions may have changed before they were locked */
		if (list_length(held) == before)
			return InvalidOid;
	}
}

/*
 * Who holds what we could not get, for the error's detail.
 */
static char *
describe_holders(Oid relation)
{
	Datum		arg = ObjectIdGetDatum(relation);
	Oid			type = OIDOID;
	char	   *holders = NULL;

	SPI_connect();
	if (SPI_execute_with_args("SELECT string_agg(DISTINCT l.pid::text, ', ')"
							  " FROM pg_locks l"
							  " WHERE l.locktype = 'relation'"
							  " AND l.relation = $1 AND l.granted"
							  " AND l.database = (SELECT d.oid"
							  " FROM pg_database d"
							  " WHERE d.datname = current_database())"
							  " AND l.mode <> 'AccessShareLock'"
							  " AND l.pid <> pg_backend_pid()",
							  1, &type, &arg, NULL, true, 1) == SPI_OK_SELECT
		&& SPI_processed == 1)
		holders = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
							   1);
	if (holders != NULL)
		holders = MemoryContextStrdup(CurTransactionContext, holders);
	SPI_finish();
	return holders;
}

static void
report_busy(Oid relation, double timeout)
{
	char	   *holders = describe_holders(relation);
	char	   *name = get_rel_name(relation);

	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("could not lock table \"%s\" within %g s",
					name ? name : "?", timeout / 1000),
			 holders ? errdetail("Processes that hold locks on it: %s.",
								 holders) : 0,
			 errhint("Try again in a quiet moment; nobody was held up "
					 "meanwhile.")));
}

static LOCKMODE
parse_mode(const char *mode)
{
	if (strcmp(mode, "ACCESS SHARE") == 0)
		return AccessShareLock;
	if (strcmp(mode, "SHARE ROW EXCLUSIVE") == 0)
		return ShareRowExclusiveLock;
	if (strcmp(mode, "ACCESS EXCLUSIVE") == 0)
		return AccessExclusiveLock;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown lock mode \"%s\"", mode)));
}

/*
 * _lock(relation, mode, timeout)
 *
 * Locks the table, and its partitions unless mode is ACCESS SHARE, until the
 * transaction ends.  Never waits in a lock's queue, where writers would wait
 * behind it: it tries, lets go of all and tries again.
 */
Datum
og_watch_lock(PG_FUNCTION_ARGS)
{
	Oid			relation = PG_GETARG_OID(0);
	LOCKMODE	mode = parse_mode(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	Interval   *timeout = PG_GETARG_INTERVAL_P(2);
	double		ms;
	TimestampTz end;
	Oid			busy;

	og_watch_check_owner(relation);
	ms = timeout->time / 1000.0 +
		(timeout->day + timeout->month * 30.0) * 86400000.0;
	ms = Min(Max(ms, 0), LOCK_TIMEOUT_MAX_MS);
	end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) ms);

	while (OidIsValid(busy = try_lock(relation, mode)))
	{
		if (GetCurrentTimestamp() >= end)
			report_busy(busy, ms);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOCK_RETRY_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	/* dropped, or given to somebody else, before we had the lock */
	og_watch_check_owner(relation);
	PG_RETURN_VOID();
}

/*
 * Run a statement with the rights of this function's owner, who owns the
 * extension's tables.  Returns the first column of the first row.  An error
 * ends the (sub)transaction, which restores the role by itself.
 */
static int32
execute_as_owner(Oid function, const char *sql, Oid type, Datum arg)
{
	HeapTuple	proc = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			owner;
	Oid			saved_role;
	int			saved_context;
	bool		isnull;
	int32		result = 0;

	if (!HeapTupleIsValid(proc))
		elog(ERROR, "cache lookup failed for function %u", function);
	owner = ((Form_pg_proc) GETSTRUCT(proc))->proowner;
	ReleaseSysCache(proc);

	GetUserIdAndSecContext(&saved_role, &saved_context);
	SetUserIdAndSecContext(owner,
						   saved_context | SECURITY_LOCAL_USERID_CHANGE);
	og_trust_limit(OG_TRUST_OWN);
	SPI_connect();
	if (SPI_execute_with_args(sql, 1, &type, &arg, NULL, false, 0) < 0)
		elog(ERROR, "SPI_execute_with_args failed");
	if (SPI_processed > 0 && SPI_tuptable != NULL)
		result = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
											 SPI_tuptable->tupdesc, 1,
											 &isnull));
	SPI_finish();
	og_trust_lift();
	SetUserIdAndSecContext(saved_role, saved_context);
	og_watch_tell();
	return result;
}

/*
 * What the worker will run is never taken from the caller: texts are made
 * canonical here, and the columns of a status found again.
 */
static void
settle_expressions(Relation relation, Datum *values, bool *nulls)
{
	char	   *status = TextDatumGetCString(values[WATCH_STATUS - 1]);
	OgExpression expression;
	NameData	column;

	if (status[0] == '(')
	{
		og_expression_analyze(relation, status, false, NIL, &expression);
		values[WATCH_STATUS - 1] = CStringGetTextDatum(expression.text);
		values[WATCH_STATUS_COLUMNS - 1] =
			og_expression_column_names(relation, &expression);
	}
	else
	{
		Datum		name = NameGetDatum(&column);

		namestrcpy(&column, status);
		values[WATCH_STATUS_COLUMNS - 1] =
			PointerGetDatum(construct_array(&name, 1, NAMEOID, NAMEDATALEN,
											false, TYPALIGN_CHAR));
	}
	nulls[WATCH_STATUS_COLUMNS - 1] = false;

	if (!nulls[WATCH_AMOUNT - 1])
	{
		char	   *amount = TextDatumGetCString(values[WATCH_AMOUNT - 1]);

		if (amount[0] == '(')
		{
			og_expression_analyze(relation, amount, true, NIL, &expression);
			values[WATCH_AMOUNT - 1] = CStringGetTextDatum(expression.text);
		}
	}
}

/*
 * _save_watch(order_guard.watch) RETURNS integer
 *
 * Writes the row for the caller, who must own the table.  _write_watch(),
 * which runs with the rights of the extension's owner, checks the rest.
 */
Datum
og_watch_save(PG_FUNCTION_ARGS)
{
	HeapTupleHeader header = PG_GETARG_HEAPTUPLEHEADER(0);
	Oid			type = HeapTupleHeaderGetTypeId(header);
	TupleDesc	desc;
	HeapTupleData tuple;
	Datum	   *values;
	bool	   *nulls;
	Relation	relation;
	int32		id;

	desc = lookup_rowtype_tupdesc_copy(type,
									   HeapTupleHeaderGetTypMod(header));
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	values = palloc(sizeof(Datum) * desc->natts);
	nulls = palloc(sizeof(bool) * desc->natts);
	heap_deform_tuple(&tuple, desc, values, nulls);

	if (nulls[WATCH_RELATION - 1] || nulls[WATCH_STATUS - 1])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a watch needs a table and a status")));
	og_watch_check_owner(DatumGetObjectId(values[WATCH_RELATION - 1]));

	relation = table_open(DatumGetObjectId(values[WATCH_RELATION - 1]),
						  AccessShareLock);
	settle_expressions(relation, values, nulls);
	table_close(relation, NoLock);
	values[WATCH_CREATED_AT - 1] =
		TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	nulls[WATCH_CREATED_AT - 1] = false;
	values[WATCH_CREATED_BY - 1] =
		CStringGetTextDatum(GetUserNameFromId(GetUserId(), false));
	nulls[WATCH_CREATED_BY - 1] = false;

	id = execute_as_owner(fcinfo->flinfo->fn_oid,
						  "SELECT order_guard._write_watch($1)", type,
						  HeapTupleGetDatum(heap_form_tuple(desc, values,
															nulls)));
	PG_RETURN_INT32(id);
}

/*
 * _forget_watch(relation oid)
 *
 * Deletes the row of a watch.  The caller must own the table, unless there
 * is no such table any more.
 */
Datum
og_watch_forget(PG_FUNCTION_ARGS)
{
	Oid			relation = PG_GETARG_OID(0);

	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)))
		og_watch_check_owner(relation);
	(void) execute_as_owner(fcinfo->flinfo->fn_oid,
							"DELETE FROM order_guard.watch"
							" WHERE relation = $1", OIDOID,
							ObjectIdGetDatum(relation));
	PG_RETURN_VOID();
}

static void
add_text(ArrayBuildState *array, const char *text, int length)
{
	/* anybody may call this with any bytes */
	pg_verifymbstr(text, length, false);
	accumArrayResult(array,
					 PointerGetDatum(cstring_to_text_with_len(text, length)),
					 false, TEXTOID, CurrentMemoryContext);
}

/*
 * _split_arguments(bytea) RETURNS text[]
 *		pg_trigger.tgargs as what it says: the watch's number, then of each
 *		column role and attribute number, and name.
 */
Datum
og_watch_split_arguments(PG_FUNCTION_ARGS)
{
	bytea	   *raw = PG_GETARG_BYTEA_PP(0);
	int			length = VARSIZE_ANY_EXHDR(raw);
	char	   *text = palloc0(length + 2);
	ArrayBuildState *result = initArrayResult(TEXTOID, CurrentMemoryContext,
											  false);
	const char *next;
	OgColumnName column;

	memcpy(text, VARDATA_ANY(raw), length);
	next = text + strspn(text, "0123456789");
	if (length > 0)
		add_text(result, text, next - text);
	while (length > 0 && og_columns_next(&next, &column))
	{
		char	   *place = psprintf("%c%d", column.role, column.attnum);

		add_text(result, place, strlen(place));
		add_text(result, column.name, strlen(column.name));
	}
	PG_RETURN_DATUM(makeArrayResult(result, CurrentMemoryContext));
}
