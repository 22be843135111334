/*
 * views.h
 *		The set-returning functions under the views.
 */
#ifndef OG_VIEWS_H
#define OG_VIEWS_H

extern bool og_views_may_see(Oid relation);

#endif							/* OG_VIEWS_H */
