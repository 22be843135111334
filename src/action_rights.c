/*
 * action_rights.c
 *		Who may act on an incident.
 *
 * Runs in the backend of whoever asks, SPI connected.  Whoever does not see
 * an incident cannot tell it from one that does not exist.  Who sees it may
 * acknowledge, snooze, close and move it, if he may UPDATE the table, or the
 * columns that make its status.  Actions that have a right of their own
 * check that themselves.
 */
#include "postgres.h"

#include "action_private.h"
#include "key.h"
#include "rights.h"
#include "visible.h"

bool
og_action_may_see(const OgCase *c)
{
	return og_visible_incident(c->relation, c->kind, c->state, c->key);
}

bool
og_action_may(const OgCase *c, const char *action)
{
	OgWatched  *watched;

	/* these go by pg_signal_backend's rules, and are their owner's */
	if (og_action_is_signal(action) || og_action_is_prepared(action) ||
		og_rights_may_update(c->relation, NIL))
		return true;
	watched = og_key_watched_relation(c->relation);
	return watched &&
		og_rights_may_update(c->relation, watched->status_columns);
}

void
og_action_check(const OgCase *c, const char *action)
{
	if (og_action_may(c, action))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 OidIsValid(c->relation) ?
			 errmsg("permission denied to act on orders of %s",
					c->relation_name) :
			 errmsg("must be superuser"),
			 OidIsValid(c->relation) ?
			 errhint("It takes the right to UPDATE the table, or the "
					 "columns that make its status.") : 0));
}
