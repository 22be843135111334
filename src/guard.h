/*
 * guard.h
 *		The guard: tokens of the current transaction, which may be refused at
 *		its commit.
 */
#ifndef OG_GUARD_H
#define OG_GUARD_H

#include "commands/trigger.h"

#include "tombstone.h"

extern void og_guard_init(void);
extern void og_guard_add(const char *token);
extern bool og_guard_holds(const char *token);

/* token.c: an order was inserted under the setting order_guard.token */
extern void og_token_note(const TriggerData *data, uint32 watch);

#endif							/* OG_GUARD_H */
