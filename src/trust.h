/*
 * trust.h
 *		Whose functions may run while order_guard works for somebody.
 */
#ifndef OG_TRUST_H
#define OG_TRUST_H

#include "executor/spi.h"

typedef enum OgTrust
{
	OG_TRUST_ALL,				/* not our work: anybody's functions */
	OG_TRUST_OWN,				/* only functions of superusers */
	OG_TRUST_READ				/* only those that change nothing, of
								 * superusers and of the current role */
} OgTrust;

extern void og_trust_init(void);

/* the worker: whatever it does as a superuser is OG_TRUST_OWN */
extern void og_trust_worker(void);

/*
 * Between these two only such functions run.  They may lie in each other.  The
 * end of the (sub-)transaction by an error lifts what was limited in it.
 */
extern void og_trust_limit(OgTrust trust);
extern void og_trust_lift(void);

/*
 * May this plan be made and run by the current role, under OG_TRUST_READ?
 * The plan is fresh.  relation is the table that it is about: of
 * others it may read what the owner of that one may read.
 */
extern bool og_trust_plan(SPIPlanPtr plan, Oid relation);

/* Is a kept plan still what og_trust_plan() would see? */
extern bool og_trust_plan_is_fresh(SPIPlanPtr plan);

#endif							/* OG_TRUST_H */
