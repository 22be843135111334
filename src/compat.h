/*
 * compat.h
 *		All differences between PostgreSQL 15, 16, 17 and 18.
 */
#ifndef OG_COMPAT_H
#define OG_COMPAT_H

#include "miscadmin.h"
#include "storage/backendid.h"

#endif							/* OG_COMPAT_H */
