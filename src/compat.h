/*
 * compat.h
 *		All differences between PostgreSQL 15, 16, 17 and 18.
 */
#ifndef OG_COMPAT_H
#define OG_COMPAT_H

#include "miscadmin.h"
#include "storage/backendid.h"

/* 16 replaced the ownership checks of each kind of object by one function. */
#if PG_VERSION_NUM >= 160000
#include "catalog/pg_class.h"
#define og_owns_relation(relation, role) \
	object_ownercheck(RelationRelationId, relation, role)
#else
#define og_owns_relation(relation, role) pg_class_ownercheck(relation, role)
#endif

#endif							/* OG_COMPAT_H */
