/*
 * compat.h
 *		All differences between PostgreSQL 15, 16, 17 and 18.
 */
#ifndef OG_COMPAT_H
#define OG_COMPAT_H

#include "access/transam.h"
#include "miscadmin.h"
#include "storage/proc.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#if PG_VERSION_NUM >= 170000
#define OG_MY_PROCNO ((int) MyProcNumber)
#define OG_VXID_PROC(vxid) ((int) (vxid).procNumber)
#define OG_OLDEST_CLOG_XID (TransamVariables->oldestClogXid)
#else
#define OG_MY_PROCNO ((int) MyProc->pgprocno)
#define OG_VXID_PROC(vxid) ((int) (vxid).backendId)
#define OG_OLDEST_CLOG_XID (ShmemVariableCache->oldestClogXid)
#endif

/* ExecutorRun_hook lost its last argument in 18. */
#if PG_VERSION_NUM >= 180000
#define OG_EXECUTOR_RUN_ARGS \
	QueryDesc *query, ScanDirection direction, uint64 count
#define OG_EXECUTOR_RUN_PASS query, direction, count
#else
#define OG_EXECUTOR_RUN_ARGS \
	QueryDesc *query, ScanDirection direction, uint64 count, bool once
#define OG_EXECUTOR_RUN_PASS query, direction, count, once
#endif

#if PG_VERSION_NUM >= 160000
#include "catalog/pg_database.h"
#define OG_OWNS_DATABASE(database, role) \
	object_ownercheck(DatabaseRelationId, database, role)
#else
#define OG_OWNS_DATABASE(database, role) \
	pg_database_ownercheck(database, role)
#endif

/* 16 replaced the ownership checks of each kind of object by one function. */
#if PG_VERSION_NUM >= 160000
#include "catalog/pg_class.h"
#define og_owns_relation(relation, role) \
	object_ownercheck(RelationRelationId, relation, role)
#else
#define og_owns_relation(relation, role) pg_class_ownercheck(relation, role)
#endif

/* 18 counts what an index scan does. */
#if PG_VERSION_NUM >= 180000
#define og_index_beginscan(heap, index, snapshot, nkeys, norderbys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, norderbys)
#else
#define og_index_beginscan(heap, index, snapshot, nkeys, norderbys) \
	index_beginscan(heap, index, snapshot, nkeys, norderbys)
#endif

/* All settings; their number in *n. */
#if PG_VERSION_NUM >= 160000
#define og_guc_variables(n) get_guc_variables(n)
#else
#define og_guc_variables(n) (*(n) = GetNumConfigOptions(), get_guc_variables())
#endif

#endif							/* OG_COMPAT_H */
