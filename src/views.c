/*
 * views.c
 *		The set-returning functions under the views.
 *
 * Run in whoever looks, with his rights: a row whose table he may not SELECT,
 * or which row security keeps from him, is left out here, since these
 * functions can be called by anybody.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"
#include "utils/wait_event.h"
#include "utils/xid8.h"

#include "bulk.h"
#include "compat.h"
#include "reader.h"
#include "views.h"

PG_FUNCTION_INFO_V1(og_views_in_flight);
PG_FUNCTION_INFO_V1(og_views_in_flight_suspect);
PG_FUNCTION_INFO_V1(og_views_may_see_uncommitted);

static bool
may_see_one(Oid relation)
{
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)) &&
		pg_class_aclcheck(relation, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		check_enable_rls(relation, InvalidOid, true) != RLS_ENABLED;
}

/*
 * og_views_may_see
 *		May the current user see rows of this table that did not commit?  The
 *		right to SELECT from the partitioned table above it will do.
 */
bool
og_views_may_see(Oid relation)
{
	ListCell   *cell;

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)))
		return superuser();
	if (may_see_one(relation))
		return true;
	if (!get_rel_relispartition(relation))
		return false;
	foreach(cell, get_partition_ancestors(relation))
	{
		if (may_see_one(lfirst_oid(cell)))
			return true;
	}
	return false;
}

/*
 * order_guard._may_see_uncommitted(relation oid) returns boolean
 */
Datum
og_views_may_see_uncommitted(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(og_views_may_see(PG_GETARG_OID(0)));
}

void
og_views_set_text(Datum *values, bool *nulls, int column, const char *text)
{
	nulls[column] = text == NULL;
	values[column] = text ? CStringGetTextDatum(text) : (Datum) 0;
}

Datum
og_views_hash_datum(const uint8 *hash)
{
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	memcpy(uuid->data, hash, UUID_LEN);
	return UUIDPGetDatum(uuid);
}

/*
 * Several records of one key in one transaction are one piece of work: the
 * status before the first, what the last one left.
 */
typedef struct NetKey
{
	OgXactKey	xact;
	uint32		watch;
	uint32		state;
	uint8		hash[16];
} NetKey;

typedef struct NetRow
{
	NetKey		key;
	OgRow	   *first;
	OgRow	   *last;
} NetRow;

static HTAB *
make_net(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(NetKey);
	control.entrysize = sizeof(NetRow);
	control.hcxt = CurrentMemoryContext;
	return hash_create("order_guard net rows", 256, &control,
					   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Adds a row to what its key has; a NetRow if it is the first one. */
static NetRow *
add_net(HTAB *net, OgXact *xact, OgRow *row)
{
	NetKey		key = {0};
	NetRow	   *entry;
	bool		found;

	key.xact = xact->key;
	key.watch = row->record->watch;
	key.state = row->state;
	memcpy(key.hash, row->record->hash, sizeof(key.hash));
	entry = hash_search(net, &key, HASH_ENTER, &found);
	entry->last = row;
	if (found)
		return NULL;
	entry->first = row;
	return entry;
}

/*
 * og_views_net_operation
 *		What several operations amount to; 0: nothing.
 */
char
og_views_net_operation(char first, char last)
{
	if (first == 'I')
		return last == 'D' ? '\0' : 'I';
	return last == 'I' ? 'U' : last;
}

static const char *
part_name(OgRowState state)
{
	switch (state)
	{
		case OG_ROW_LIVE:
			return "holds";
		case OG_ROW_WAITING:
			return "waits";
		default:
			return "refused";
	}
}

#define IN_FLIGHT_COLUMNS 23

/* One order of an open transaction; columns as in the SQL declaration. */
static void
put_net(ReturnSetInfo *result, OgXact *xact, NetRow *net)
{
	Datum		values[IN_FLIGHT_COLUMNS] = {0};
	bool		nulls[IN_FLIGHT_COLUMNS] = {0};
	OgRowRecord *first = net->first->record;
	OgRowRecord *last = net->last->record;
	char		operation[2] = {0};

	operation[0] = og_views_net_operation(first->operation, last->operation);
	if (operation[0] == '\0')
		return;
	values[0] = Int64GetDatum((int64) xact->key.session);
	values[1] = Int64GetDatum((int64) xact->key.xact);
	values[2] = Int32GetDatum(last->watch);
	values[3] = ObjectIdGetDatum(last->relation);
	og_views_set_text(values, nulls, 4, og_reader_key(last));
	values[5] = og_views_hash_datum(last->hash);
	og_views_set_text(values, nulls, 6, operation);
	og_views_set_text(values, nulls, 7,
					  og_reader_value(first, OG_VALUE_OLD_STATUS));
	og_views_set_text(values, nulls, 8,
					  og_reader_value(last, OG_VALUE_NEW_STATUS));
	og_views_set_text(values, nulls, 9, og_reader_value(last, OG_VALUE_TOKEN));
	og_views_set_text(values, nulls, 10,
					  og_reader_value(last, OG_VALUE_AMOUNT));
	og_views_set_text(values, nulls, 11,
					  og_reader_value(last, OG_VALUE_CUSTOMER));
	og_views_set_text(values, nulls, 12, part_name(net->last->state));
	values[13] = Int32GetDatum(xact->session->pid);
	values[14] = TimestampTzGetDatum(xact->session->backend_start);
	nulls[15] = net->last->xid == 0;
	values[15] =
		FullTransactionIdGetDatum(FullTransactionIdFromU64(net->last->xid));
	nulls[16] = xact->begin == NULL;
	values[16] = TimestampTzGetDatum(xact->begin ? xact->begin->start : 0);
	values[17] = TimestampTzGetDatum(last->at);
	values[18] = ObjectIdGetDatum(xact->session->role);
	nulls[19] = xact->begin == NULL;
	values[19] = Int32GetDatum(xact->begin ? xact->begin->open_threshold : 0);
	values[20] = Int64GetDatum(1);
	nulls[21] = nulls[22] = true;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* The rows past the limit, as one. */
static void
put_bulk(ReturnSetInfo *result, OgXact *xact, OgBulkRecord *bulk)
{
	Datum		values[IN_FLIGHT_COLUMNS] = {0};
	bool		nulls[IN_FLIGHT_COLUMNS];

	memset(nulls, true, sizeof(nulls));
	nulls[0] = nulls[1] = nulls[2] = nulls[12] = nulls[13] = nulls[14] =
		nulls[18] = nulls[20] = false;
	nulls[16] = nulls[19] = xact->begin == NULL;
	values[0] = Int64GetDatum((int64) xact->key.session);
	values[1] = Int64GetDatum((int64) xact->key.xact);
	values[2] = Int32GetDatum(bulk->watch);
	nulls[3] = !OidIsValid(bulk->relation);
	values[3] = ObjectIdGetDatum(bulk->relation);
	values[12] = CStringGetTextDatum("holds");
	values[13] = Int32GetDatum(xact->session->pid);
	values[14] = TimestampTzGetDatum(xact->session->backend_start);
	values[16] = TimestampTzGetDatum(xact->begin ? xact->begin->start : 0);
	values[18] = ObjectIdGetDatum(xact->session->role);
	values[19] = Int32GetDatum(xact->begin ? xact->begin->open_threshold : 0);
	values[20] = Int64GetDatum((int64) pg_atomic_read_u64(&bulk->rows));
	/* Who may see these keys is known if their table is. */
	if (OidIsValid(bulk->relation))
	{
		og_views_set_text(values, nulls, 21, og_bulk_key(&bulk->first));
		og_views_set_text(values, nulls, 22, og_bulk_key(&bulk->last));
	}
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * og_views_backend
 *		The process that wrote for a session, or NULL if it is gone.
 */
PGPROC *
og_views_backend(const OgSessionRecord *session)
{
	PGPROC	   *proc;

	if (session->incarnation != og_journal_incarnation() ||
		session->procno < 0 || session->procno >= ProcGlobal->allProcCount)
		return NULL;
	proc = &ProcGlobal->allProcs[session->procno];
	return proc->pid == session->pid ? proc : NULL;
}

/*
 * og_views_waits
 *		Does this process wait for a heavyweight lock?
 */
bool
og_views_waits(const PGPROC *proc)
{
	return (*(volatile const uint32 *) &proc->wait_event_info & 0xFF000000) ==
		PG_WAIT_LOCK;
}

/*
 * og_views_idle
 *		A backend that waits for its client's next statement does not wait with
 *		a candidate of the last one: that one was skipped.
 */
bool
og_views_idle(const PGPROC *proc)
{
	return *(volatile const uint32 *) &proc->wait_event_info ==
		WAIT_EVENT_CLIENT_READ;
}

static void
put_xact(ReturnSetInfo *result, OgXact *xact, HTAB *net, bool idle)
{
	Oid			relation = InvalidOid;
	bool		visible = superuser();
	List	   *rows = NIL;
	ListCell   *cell;

	foreach(cell, xact->rows)
	{
		OgRow	   *row = lfirst(cell);
		NetRow	   *entry;

		if (row->state != OG_ROW_LIVE && row->state != OG_ROW_REFUSED &&
			(row->state != OG_ROW_WAITING || idle))
			continue;
		if (relation != row->record->relation)
		{
			relation = row->record->relation;
			visible = og_views_may_see(relation);
		}
		entry = visible ? add_net(net, xact, row) : NULL;
		if (entry)
			rows = lappend(rows, entry);
	}
	foreach(cell, rows)
		put_net(result, xact, lfirst(cell));
	foreach(cell, xact->bulk)
	{
		OgBulkRecord *bulk = lfirst(cell);

		/* If replication cannot tell its table, by the last row's. */
		if (OidIsValid(bulk->relation) ?
			og_views_may_see(bulk->relation) : visible)
			put_bulk(result, xact, bulk);
	}
}

static bool
is_suspect(OgXact *xact, const PGPROC *proc, TimestampTz now)
{
	return xact->begin == NULL || og_views_waits(proc) ||
		TimestampDifferenceExceeds(xact->begin->start, now,
								   xact->begin->open_threshold);
}

static void
put_open(ReturnSetInfo *result, bool only_suspect)
{
	TimestampTz now = GetCurrentTimestamp();
	HTAB	   *net = make_net();
	ListCell   *cell;

	foreach(cell, og_reader_read(MyDatabaseId)->xacts)
	{
		OgXact	   *xact = lfirst(cell);
		PGPROC	   *proc;

		CHECK_FOR_INTERRUPTS();
		if (xact->end != NULL || !xact->newest)
			continue;
		proc = og_views_backend(xact->session);
		if (proc != NULL && (!only_suspect || is_suspect(xact, proc, now)))
			put_xact(result, xact, net, og_views_idle(proc));
	}
}

/*
 * order_guard._in_flight(): orders of transactions that are open now, read
 * from shared memory.  Those of an earlier life of the server are the
 * worker's.  What backends do is then to be read afresh, too.
 */
Datum
og_views_in_flight(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	pgstat_clear_backend_activity_snapshot();
	if (og_journal_ready())
		put_open((ReturnSetInfo *) fcinfo->resultinfo, false);
	return (Datum) 0;
}

/*
 * order_guard._in_flight_suspect(): only of those that are older than their
 * threshold, or wait for a lock.
 */
Datum
og_views_in_flight_suspect(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	if (og_journal_ready())
		put_open((ReturnSetInfo *) fcinfo->resultinfo, true);
	return (Datum) 0;
}
