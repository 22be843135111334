/*
 * guard.h
 *		The guard: tokens of the current transaction, which may be refused at
 *		its commit.
 */
#ifndef OG_GUARD_H
#define OG_GUARD_H

#include "commands/trigger.h"
#include "executor/execdesc.h"

#include "tombstone.h"

/* order_guard.guard(), when it was called in this backend */
extern Oid	og_guard_function;

extern void og_guard_init(void);
extern void og_guard_add(const char *token);
extern bool og_guard_holds(const char *token);

/* What a trigger looks at, as of some state of the relation cache. */
typedef struct OgGuardSource
{
	Oid			trigger;
	uint32		as_of;
	AttrNumber	attnum;			/* 0: the setting order_guard.token */
	Oid			type;			/* no domain */
} OgGuardSource;

/* Brings a source up to date; it stays so while the relation is locked. */
extern void og_guard_describe(OgGuardSource *source, Relation relation,
							  const Trigger *trigger);

/*
 * A row was inserted (no old one) or updated.  False: the trigger has to see
 * to it, when the statement is over.
 */
extern bool og_guard_row(const OgGuardSource *source, TupleTableSlot *old,
						 TupleTableSlot *new);

/* guard_condition.c */
extern void og_guard_prepare(QueryDesc *query);
extern bool og_guard_says(char *text, Oid function);

/* token.c: an order was inserted under the setting order_guard.token */
extern void og_token_note(const TriggerData *data, uint32 watch);

#endif							/* OG_GUARD_H */
