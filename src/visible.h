/*
 * visible.h
 *		Which incidents a reader sees whom row security binds.
 */
#ifndef OG_VISIBLE_H
#define OG_VISIBLE_H

/*
 * May the current role see an incident?  key may be NULL.  Throws nothing
 * but what the caller himself did: a cancelled query.
 */
extern bool og_visible_incident(Oid relation, const char *kind,
								const char *state, const char *key);

#endif							/* OG_VISIBLE_H */
