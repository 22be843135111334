/*
 * target.h
 *		The watched relation that a statement writes to.
 */
#ifndef OG_TARGET_H
#define OG_TARGET_H

#include "executor/execdesc.h"

typedef struct OgTarget
{
	QueryDesc  *query;
	Oid			relation;
	uint32		watch;			/* 0: it writes to nothing that is watched */
} OgTarget;

extern OgTarget og_target;

extern bool og_target_find(QueryDesc *query, bool starts);
extern Oid og_target_root(Oid relation);
extern Oid og_target_of_watch(uint32 watch);

#endif							/* OG_TARGET_H */
