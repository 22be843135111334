/*
 * views.h
 *		The set-returning functions under the views.
 */
#ifndef OG_VIEWS_H
#define OG_VIEWS_H

#include "storage/proc.h"

#include "journal.h"

extern bool og_views_may_see(Oid relation);
extern PGPROC *og_views_backend(const OgSessionRecord *session);
extern bool og_views_waits(const PGPROC *proc);
extern bool og_views_idle(const PGPROC *proc);
extern char og_views_net_operation(char first, char last);

/* columns of a result */
extern void og_views_set_text(Datum *values, bool *nulls, int column,
							  const char *text);
extern Datum og_views_hash_datum(const uint8 *hash);

#endif							/* OG_VIEWS_H */
