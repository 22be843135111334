/*
 * drop.h
 *		DROP EXTENSION while tables are watched.
 */
#ifndef OG_DROP_H
#define OG_DROP_H

#include "nodes/nodes.h"

extern void og_drop_check(Node *statement);

#endif							/* OG_DROP_H */
