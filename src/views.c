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
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"
#include "utils/xid8.h"

#include "compat.h"
#include "reader.h"
#include "views.h"

PG_FUNCTION_INFO_V1(og_views_in_flight);

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

static void
set_text(Datum *values, bool *nulls, int column, const char *text)
{
	nulls[column] = text == NULL;
	values[column] = text ? CStringGetTextDatum(text) : (Datum) 0;
}

static Datum
hash_datum(const uint8 *hash)
{
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	memcpy(uuid->data, hash, UUID_LEN);
	return UUIDPGetDatum(uuid);
}

#define IN_FLIGHT_COLUMNS 21

/* One row of an open transaction; column order as in the SQL declaration. */
static void
put_row(ReturnSetInfo *result, OgXact *xact, OgRow *row)
{
	Datum		values[IN_FLIGHT_COLUMNS] = {0};
	bool		nulls[IN_FLIGHT_COLUMNS] = {0};
	OgRowRecord *record = row->record;
	char		operation[2] = {record->operation, '\0'};

	values[0] = Int64GetDatum((int64) xact->key.session);
	values[1] = Int64GetDatum((int64) xact->key.xact);
	values[2] = Int32GetDatum(record->watch);
	values[3] = ObjectIdGetDatum(record->relation);
	set_text(values, nulls, 4, og_reader_key(record));
	values[5] = hash_datum(record->hash);
	set_text(values, nulls, 6, operation);
	set_text(values, nulls, 7, og_reader_value(record, OG_VALUE_OLD_STATUS));
	set_text(values, nulls, 8, og_reader_value(record, OG_VALUE_NEW_STATUS));
	set_text(values, nulls, 9, og_reader_value(record, OG_VALUE_TOKEN));
	set_text(values, nulls, 10, og_reader_value(record, OG_VALUE_AMOUNT));
	set_text(values, nulls, 11, og_reader_value(record, OG_VALUE_CUSTOMER));
	set_text(values, nulls, 12, row->state == OG_ROW_LIVE ? "holds" : "waits");
	values[13] = Int32GetDatum(xact->session->pid);
	values[14] = TimestampTzGetDatum(xact->session->backend_start);
	nulls[15] = row->xid == 0;
	values[15] = FullTransactionIdGetDatum(FullTransactionIdFromU64(row->xid));
	nulls[16] = xact->begin == NULL;
	values[16] = TimestampTzGetDatum(xact->begin ? xact->begin->start : 0);
	values[17] = TimestampTzGetDatum(record->at);
	values[18] = ObjectIdGetDatum(xact->session->role);
	nulls[19] = xact->begin == NULL;
	values[19] = Int32GetDatum(xact->begin ? xact->begin->open_threshold : 0);
	values[20] = Int64GetDatum(1);
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
		nulls[16] = nulls[19] = nulls[20] = false;
	values[0] = Int64GetDatum((int64) xact->key.session);
	values[1] = Int64GetDatum((int64) xact->key.xact);
	values[2] = Int32GetDatum(bulk->watch);
	values[12] = CStringGetTextDatum("holds");
	values[13] = Int32GetDatum(xact->session->pid);
	values[14] = TimestampTzGetDatum(xact->session->backend_start);
	values[16] = TimestampTzGetDatum(xact->begin ? xact->begin->start : 0);
	values[19] = Int32GetDatum(xact->begin ? xact->begin->open_threshold : 0);
	values[20] = Int64GetDatum((int64) pg_atomic_read_u64(&bulk->rows));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
put_xact(ReturnSetInfo *result, OgXact *xact)
{
	Oid			relation = InvalidOid;
	bool		visible = false;
	ListCell   *cell;

	foreach(cell, xact->rows)
	{
		OgRow	   *row = lfirst(cell);

		if (row->state != OG_ROW_LIVE && row->state != OG_ROW_WAITING)
			continue;
		if (relation != row->record->relation)
		{
			relation = row->record->relation;
			visible = og_views_may_see(relation);
		}
		if (visible)
			put_row(result, xact, row);
	}
	if (!visible)
		return;
	foreach(cell, xact->bulk)
		put_bulk(result, xact, lfirst(cell));
}

/*
 * order_guard._in_flight(): rows of transactions that are open now, read from
 * shared memory.  Those of an earlier life of the server are the worker's.
 */
Datum
og_views_in_flight(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	if (!og_journal_ready())
		return (Datum) 0;
	foreach(cell, og_reader_read(MyDatabaseId)->xacts)
	{
		OgXact	   *xact = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		if (xact->end == NULL && xact->newest &&
			xact->session->incarnation == og_journal_incarnation())
			put_xact(result, xact);
	}
	return (Datum) 0;
}
