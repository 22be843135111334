/*
 * condition.h
 *		The WHEN condition of a watch's row triggers.
 */
#ifndef OG_CONDITION_H
#define OG_CONDITION_H

#include "executor/execdesc.h"

extern void og_condition_init(void);
extern void og_condition_prepare(QueryDesc *query);

#endif							/* OG_CONDITION_H */
