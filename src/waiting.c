/*
 * waiting.c
 *		Backends that wait to update, delete or lock an order.
 *
 * Runs in whoever looks and in the worker.  Such a backend holds or awaits a
 * "tuple" lock, which names the row's place.  The row is read straight from
 * the table, without planner or index, under a lock on the table that is
 * taken only if that needs no waiting: who looks never hangs.  What the
 * columns mean is told by the arguments of the table's triggers.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "columns.h"
#include "compat.h"
#include "journal.h"
#include "keyhash.h"
#include "keytext.h"
#include "views.h"

PG_FUNCTION_INFO_V1(og_waiting_backends);

#define WAITING_COLUMNS 11

/* The row that somebody waits for. */
typedef struct Order
{
	uint32		watch;			/* 0: not known */
	int			nkeys;
	char	   *key[OG_MAX_KEYS];
	OgKeyHash	hash;
	char	   *status;
	char	   *token;
	char	   *amount;
	char	   *customer;
} Order;

static bool
anyone_waits(void)
{
	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		PGPROC	   *proc = &ProcGlobal->allProcs[i];

		if (proc->pid != 0 && proc->databaseId == MyDatabaseId &&
			og_views_waits(proc))
			return true;
	}
	return false;
}

static Trigger *
our_trigger(Relation relation)
{
	TriggerDesc *triggers = relation->trigdesc;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
		if (og_columns_is_ours(&triggers->triggers[i]))
			return &triggers->triggers[i];
	return NULL;
}

/* A column's value as text; NULL also for one in the toast table. */
static char *
column_text(Form_pg_attribute attribute, Datum value, bool isnull)
{
	Oid			output;
	bool		varlena;

	if (isnull || (attribute->attlen == -1 &&
				   VARATT_IS_EXTERNAL(DatumGetPointer(value))))
		return NULL;
	getTypeOutputInfo(attribute->atttypid, &output, &varlena);
	return OidOutputFunctionCall(output, value);
}

/* Takes up what the trigger's arguments name. */
static void
read_column(Order *order, TupleTableSlot *slot, Relation relation,
			const OgColumnName *column)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(relation), column->name);
	char		role = column->role;
	Form_pg_attribute attribute;
	bool		isnull;
	Datum		value;
	char	   *text;

	if (attnum == InvalidAttrNumber && !relation->rd_rel->relispartition)
		attnum = column->attnum;
	if (attnum < 1 || attnum > RelationGetNumberOfAttributes(relation) ||
		strchr("kstac", role) == NULL)
		return;
	attribute = TupleDescAttr(RelationGetDescr(relation), attnum - 1);
	value = slot_getattr(slot, attnum, &isnull);
	text = column_text(attribute, value, isnull);
	if (role == 'k' && order->nkeys < OG_MAX_KEYS)
	{
		order->key[order->nkeys++] = text;
		og_keyhash_add(&order->hash, value, isnull || text == NULL,
					   attribute->atttypid, attribute->attlen,
					   attribute->attbyval);
	}
	else if (role == 's')
		order->status = text;
	else if (role == 't')
		order->token = text;
	else if (role == 'a')
		order->amount = text;
	else if (role == 'c')
		order->customer = text;
}

static void
read_row(Order *order, Relation relation, Trigger *trigger, ItemPointer place)
{
	TupleTableSlot *slot = table_slot_create(relation, NULL);

	if (ItemPointerGetBlockNumber(place) < RelationGetNumberOfBlocks(relation) &&
		table_tuple_fetch_row_version(relation, place, SnapshotAny, slot))
	{
		const char *names = og_columns_first(trigger);
		OgColumnName column;

		while (og_columns_next(&names, &column))
			read_column(order, slot, relation, &column);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Reads the row at a place.  False: it is none of a watched table.  If the
 * table is locked, nothing but its name is known.
 */
static bool
read_order(Order *order, Oid relid, ItemPointer place)
{
	Relation	relation;
	Trigger    *trigger = NULL;

	memset(order, 0, sizeof(*order));
	og_keyhash_begin(&order->hash);
	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return true;
	relation = try_relation_open(relid, NoLock);
	if (relation == NULL)
	{
		UnlockRelationOid(relid, AccessShareLock);
		return false;
	}
	if (relation->rd_rel->relkind == RELKIND_RELATION)
		trigger = our_trigger(relation);
	if (trigger)
	{
		order->watch = og_columns_watch(trigger);
		read_row(order, relation, trigger, place);
	}
	relation_close(relation, AccessShareLock);
	return trigger != NULL;
}

/* Only an UPDATE, or FOR NO KEY UPDATE, takes this mode. */
static const char *
mode_operation(const LockInstanceData *lock)
{
	return lock->waitLockMode == ExclusiveLock ||
		(lock->holdMask & LOCKBIT_ON(ExclusiveLock)) ? "U" : NULL;
}

static void
put_waiter(ReturnSetInfo *result, const LockInstanceData *lock, Oid relation,
		   Order *order, const char *operation)
{
	Datum		values[WAITING_COLUMNS] = {0};
	bool		nulls[WAITING_COLUMNS] = {0};

	values[0] = Int32GetDatum(lock->pid);
	nulls[1] = order->watch == 0;
	values[1] = Int32GetDatum(order->watch);
	values[2] = ObjectIdGetDatum(relation);
	og_views_set_text(values, nulls, 3,
					  og_keytext_join(order->key, order->nkeys));
	nulls[4] = order->nkeys == 0;
	values[4] = og_views_hash_datum((uint8 *) order->hash.half);
	og_views_set_text(values, nulls, 5, operation);
	og_views_set_text(values, nulls, 6, order->status);
	og_views_set_text(values, nulls, 7, order->token);
	og_views_set_text(values, nulls, 8, order->amount);
	og_views_set_text(values, nulls, 9, order->customer);
	nulls[10] = lock->waitStart == 0;
	values[10] = TimestampTzGetDatum(lock->waitStart);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
put_lock(ReturnSetInfo *result, const LockInstanceData *lock)
{
	Oid			relation = lock->locktag.locktag_field2;
	ItemPointerData place;
	Order		order = {0};

	if (lock->locktag.locktag_field1 != MyDatabaseId)
		return;
	if (lock->locktag.locktag_type == LOCKTAG_TUPLE)
	{
		ItemPointerSet(&place, lock->locktag.locktag_field3,
					   lock->locktag.locktag_field4);
		if (og_views_may_see(relation) &&
			read_order(&order, relation, &place))
			put_waiter(result, lock, relation, &order, mode_operation(lock));
	}
	else if (lock->locktag.locktag_type == LOCKTAG_RELATION &&
			 (lock->waitLockMode == RowShareLock ||
			  lock->waitLockMode == RowExclusiveLock) &&
			 og_views_may_see(relation))
		put_waiter(result, lock, relation, &order, NULL);
}

/*
 * order_guard._waiting(): backends that wait to change or lock an order, or
 * to write to a table at all (key and watch NULL; the caller knows whether
 * the table is watched).
 */
Datum
og_waiting_backends(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	LockData   *data;
	List	   *waiting = NIL;

	InitMaterializedSRF(fcinfo, 0);
	if (!anyone_waits())
		return (Datum) 0;
	data = GetLockStatusData();
	for (int i = 0; i < data->nelements; i++)
		if (data->locks[i].waitLockMode != NoLock)
			waiting = lappend_int(waiting, data->locks[i].pid);
	for (int i = 0; i < data->nelements; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if ((data->locks[i].locktag.locktag_type == LOCKTAG_TUPLE ||
			 data->locks[i].locktag.locktag_type == LOCKTAG_RELATION) &&
			list_member_int(waiting, data->locks[i].pid))
			put_lock(result, &data->locks[i]);
	}
	return (Datum) 0;
}
