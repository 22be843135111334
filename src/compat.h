/*
 * compat.h
 *		All differences between PostgreSQL 15, 16, 17 and 18.
 */
#ifndef OG_COMPAT_H
#define OG_COMPAT_H

#include "miscadmin.h"
#include "storage/backendid.h"

#if PG_VERSION_NUM >= 160000
#include "catalog/pg_database.h"
#define OG_OWNS_DATABASE(database, role) \
	object_ownercheck(DatabaseRelationId, database, role)
#else
#define OG_OWNS_DATABASE(database, role) \
	pg_database_ownercheck(database, role)
#endif

#endif							/* OG_COMPAT_H */
