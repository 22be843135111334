/*
 * rights.h
 *		Who may see and do what, and acting as the extension's owner.
 */
#ifndef OG_RIGHTS_H
#define OG_RIGHTS_H

#include "nodes/pg_list.h"

#include "trust.h"

typedef struct OgRights
{
	Oid			user;
	int			context;
	int			nest;
} OgRights;

/*
 * Between these two the extension's owner acts, with search_path pinned:
 * nothing but statements on order_guard's own tables may run.  An error in
 * between is undone by the (sub-)transaction's abort.
 */
extern void og_rights_raise(OgRights *saved);
extern void og_rights_restore(const OgRights *saved);

/* of the current role; InvalidOid and dropped relations included */
extern bool og_rights_may_see(Oid relation);
extern bool og_rights_owns(Oid relation);
extern bool og_rights_may_update(Oid relation, List *status_columns);

/* by pg_signal_backend's own rules: what is missing, NULL if nothing is */
extern const char *og_rights_signal(Oid role, Oid session_role);

/* "alice", or "alice as shop_owner" */
extern char *og_rights_who(void);

#endif							/* OG_RIGHTS_H */
