/*
 * probe.c
 *		Looks a token up in the index that its column has.
 *
 * Runs in the worker, as a superuser: so not through SQL, but straight through
 * the index, with functions of PostgreSQL's own types only, for nothing of the
 * table's owner may run here.  With a dirty snapshot it sees also what others
 * have not committed yet, and who they are: that is how a prepared transaction
 * is found, whatever the journal knows of it.
 *
 * Locks: AccessShareLock of table, partitions and index, if they can be had at
 * once; else 55P03.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/subtrans.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/primnodes.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "columns.h"
#include "compat.h"
#include "guard.h"
#include "probe.h"

#define GUARD_TRIGGER	"00_order_guard_guard"
#define GUARD_TYPE		(TRIGGER_TYPE_ROW | TRIGGER_TYPE_INSERT | \
						 TRIGGER_TYPE_UPDATE)

/* What one look for a token is made with. */
typedef struct Look
{
	Snapshot	snapshot;
	bool		dirty;
	List	   *open;			/* dirty: ids, as Oids */
	bool		found;			/* not dirty */
} Look;

/* Is a trigger's condition the one that watch() gave it? */
static bool
always_fires(const Trigger *trigger)
{
	Oid			function = LookupFuncName(list_make2(makeString("order_guard"),
													 makeString("_guarding")),
										  0, NULL, true);

	return trigger->tgqual != NULL && trigger->tgnattr == 0 &&
		og_guard_says(trigger->tgqual, function);
}

/* Has every new row with a token to pass the guard? */
static void
check_guard(Relation relation, int watch)
{
	TriggerDesc *triggers = relation->trigdesc;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (strcmp(trigger->tgname, GUARD_TRIGGER) == 0 &&
			trigger->tgtype == GUARD_TYPE &&
			trigger->tgenabled == TRIGGER_FIRES_ALWAYS &&
			og_columns_watch(trigger) == watch && always_fires(trigger))
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" is not guarded",
					RelationGetRelationName(relation)),
			 errdetail("Its trigger " GUARD_TRIGGER " is missing or "
					   "disabled."),
			 errhint("Call order_guard.watch() again.")));
}

/* NOT NULL of the column is what a partial index may demand. */
static bool
covers_all(Relation index, AttrNumber attnum)
{
	List	   *predicate = RelationGetIndexPredicate(index);
	NullTest   *test = predicate ? linitial(predicate) : NULL;

	if (predicate == NIL)
		return true;
	return list_length(predicate) == 1 && IsA(test, NullTest) &&
		test->nulltesttype == IS_NOT_NULL && IsA(test->arg, Var) &&
		((Var *) test->arg)->varattno == attnum;
}

static bool
is_usable(Relation index, AttrNumber attnum)
{
	return index->rd_index->indisvalid && index->rd_index->indisready &&
		index->rd_index->indkey.values[0] == attnum &&
		(index->rd_rel->relam == BTREE_AM_OID ||
		 index->rd_rel->relam == HASH_AM_OID) &&
		index->rd_opfamily[0] < FirstNormalObjectId &&
		covers_all(index, attnum);
}

static Relation
open_index(Relation relation, AttrNumber attnum)
{
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(relation))
	{
		Relation	index;

		if (!ConditionalLockRelationOid(lfirst_oid(cell), AccessShareLock))
			continue;
		index = index_open(lfirst_oid(cell), NoLock);
		if (is_usable(index, attnum))
			return index;
		index_close(index, AccessShareLock);
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the token column of table \"%s\" has no index",
					RelationGetRelationName(relation)),
			 errhint("Create one on this column alone.")));
}

/* A token as the index compares it; false if the type has no such value. */
static bool
make_value(Oid type, const char *form, Datum *value)
{
	char		again[40];
	char	   *end;
	int64		n;

	switch (type)
	{
		case TEXTOID:
		case BPCHAROID:
			*value = CStringGetTextDatum(form);
			return true;
		case UUIDOID:
			if (strlen(form) != 36 ||
				strspn(form, "0123456789abcdef-") != 36)
				return false;
			for (int i = 0; i < 36; i++)
				if ((form[i] == '-') !=
					(i == 8 || i == 13 || i == 18 || i == 23))
					return false;
			*value = DirectFunctionCall1(uuid_in, CStringGetDatum(form));
			return true;
		case INT2OID:
		case INT4OID:
		case INT8OID:
			n = strtoi64(form, &end, 10);
			snprintf(again, sizeof(again), INT64_FORMAT, n);
			if (strcmp(form, again) != 0)
				return false;
			*value = type == INT2OID ? Int16GetDatum((int16) n) :
				type == INT4OID ? Int32GetDatum((int32) n) :
				Int64GetDatum(n);
			return type == INT8OID ||
				(type == INT4OID ? n == (int32) n : n == (int16) n);
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("tokens of type %s cannot be settled",
							format_type_be(type))));
	}
}

static void
make_key(ScanKey key, Relation index, Datum value)
{
	Oid			type = index->rd_opcintype[0];
	int			strategy = index->rd_rel->relam == BTREE_AM_OID ?
		BTEqualStrategyNumber : HTEqualStrategyNumber;
	Oid			operator = get_opfamily_member(index->rd_opfamily[0], type,
											   type, strategy);

	if (!OidIsValid(operator))
		elog(ERROR, "index \"%s\" cannot compare its values",
			 RelationGetRelationName(index));
	ScanKeyEntryInitialize(key, 0, 1, strategy, type,
						   index->rd_indcollation[0], get_opcode(operator),
						   value);
}

/* Once this transaction is seen, its commit must not be lost. */
static void
flush_commit(TransactionId xid)
{
	XLogRecPtr	lsn = InvalidXLogRecPtr;

	if (!TransactionIdIsNormal(xid))
		return;
	LWLockAcquire(XactTruncationLock, LW_SHARED);
	if (TransactionIdFollowsOrEquals(xid, OG_OLDEST_CLOG_XID))
		lsn = TransactionIdGetCommitLSN(xid);
	LWLockRelease(XactTruncationLock);
	XLogFlush(lsn);
}

static void
take_row(Look *look, TupleTableSlot *slot)
{
	bool		isnull;
	TransactionId xid;
	Datum		xmin;

	if (!look->dirty)
	{
		look->found = true;
		xmin = slot_getsysattr(slot, MinTransactionIdAttributeNumber,
							   &isnull);
		flush_commit(DatumGetTransactionId(xmin));
	}
	else if (TransactionIdIsValid(look->snapshot->xmin))
	{
		xid = SubTransGetTopmostTransaction(look->snapshot->xmin);
		look->open = list_append_unique_oid(look->open, xid);
	}
}

/* Hash indexes find more than what is equal. */
static bool
is_equal(ScanKey key, AttrNumber attnum, TupleTableSlot *slot)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, attnum, &isnull);

	return !isnull && DatumGetBool(FunctionCall2Coll(&key->sk_func,
													 key->sk_collation,
													 value,
													 key->sk_argument));
}

static void
scan_index(Look *look, Relation relation, Relation index, AttrNumber attnum,
		   Datum value)
{
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	IndexScanDesc scan;
	ScanKeyData key;

	make_key(&key, index, value);
	scan = og_index_beginscan(relation, index, look->snapshot, 1, 0);
	index_rescan(scan, &key, 1, NULL, 0);
	while (!look->found &&
		   index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (!scan->xs_recheck || is_equal(&key, attnum, slot))
			take_row(look, slot);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

static void
look_at(Look *look, Oid oid, const OgProbe *probe, char *const *forms, int n)
{
	Relation	relation = try_table_open(oid, NoLock);
	AttrNumber	attnum;
	Relation	index;
	Datum		value;

	if (relation == NULL)
		return;					/* dropped a moment ago */
	if (relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
	{
		if (probe->watch != 0)
			check_guard(relation, probe->watch);
	}
	if (probe->column != NULL &&
		relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
	{
		attnum = get_attnum(oid, probe->column);
		index = open_index(relation, attnum);
		for (int i = 0; i < n; i++)
			if (make_value(index->rd_opcintype[0], forms[i], &value))
				scan_index(look, relation, index, attnum, value);
		index_close(index, NoLock);
	}
	table_close(relation, NoLock);
}

static void
lock(Oid relation)
{
	if (!ConditionalLockRelationOid(relation, AccessShareLock))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("table \"%s\" is locked", get_rel_name(relation))));
}

static void
look_everywhere(Look *look, const OgProbe *probe, char *const *forms, int n)
{
	ListCell   *cell;

	lock(probe->relation);
	if (get_rel_relkind(probe->relation) != RELKIND_PARTITIONED_TABLE)
	{
		look_at(look, probe->relation, probe, forms, n);
		return;
	}
	foreach(cell, find_all_inheritors(probe->relation, NoLock, NULL))
	{
		lock(lfirst_oid(cell));
		look_at(look, lfirst_oid(cell), probe, forms, n);
	}
}

/* See probe.h. */
List *
og_probe_open(const OgProbe *probe, char *const *forms, int n)
{
	SnapshotData snapshot;
	Look		look = {0};

	InitDirtySnapshot(snapshot);
	look.snapshot = &snapshot;
	look.dirty = true;
	look_everywhere(&look, probe, forms, n);
	return look.open;
}

/* See probe.h. */
bool
og_probe_committed(const OgProbe *probe, char *const *forms, int n)
{
	Look		look = {0};

	look.snapshot = RegisterSnapshot(GetLatestSnapshot());
	look_everywhere(&look, probe, forms, n);
	UnregisterSnapshot(look.snapshot);
	return look.found;
}
