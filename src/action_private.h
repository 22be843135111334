/*
 * action_private.h
 *		What action.c and the single actions share.
 */
#ifndef OG_ACTION_PRIVATE_H
#define OG_ACTION_PRIVATE_H

#include "utils/jsonb.h"

#include "action.h"

/* An incident as an action needs it; the strings are palloc'd. */
typedef struct OgCase
{
	int64		id;
	char	   *kind;
	int			watch;
	Oid			relation;
	char	   *relation_name;
	char	   *key;			/* or NULL, as all below */
	char	   *status;
	char	   *state;			/* never NULL */
	char	   *pid;
	char	   *backend_start;
	char	   *xact_start;
	char	   *shown_key;		/* as those are told who have no rights */
} OgCase;

/* What was asked for. */
typedef struct OgRequest
{
	const char *action;
	const char *note;			/* or NULL */
	Jsonb	   *args;
	char	   *to;				/* move: the new status */
	bool		dry_run;

	/*
	 * Of the worker: by is what the audit says instead of og_rights_who().
	 * unattended: whether it may be done was decided when the policy or the
	 * handler was set up, with the rights of role; rows that people keep
	 * locked are not waited for.
	 */
	const char *by;
	Oid			role;			/* InvalidOid: the current one */
	bool		unattended;
} OgRequest;

/* What came of it. */
typedef struct OgAnswer
{
	int64		id;				/* of the action; 0: none was recorded */
	const char *result;			/* done, moved_on, queued, refused, would_do;
								 * unattended also busy: try again later */
	char	   *detail;
	char	   *resolution;		/* if not NULL the incident is resolved */
} OgAnswer;

/*
 * action.c: does what is asked about one incident, records it, and closes the
 * incident if that is due.  SPI connected; in people's backends, and in the
 * worker for what is unattended.  Throws what the action throws.
 */
extern void og_action_act(int64 incident, const OgRequest *request,
						  OgAnswer *answer);

/* action_request.c: checks what was asked, raises 22023 */
extern void og_request_check(OgRequest *request);

/*
 * action_rights.c: SPI connected.  May the current role see a case, and do
 * this to it?  og_action_check() raises 42501 if not.
 */
extern bool og_action_may_see(const OgCase *c);
extern bool og_action_may(const OgCase *c, const char *action);
extern void og_action_check(const OgCase *c, const char *action);

/* action_move.c: as the caller, SPI connected */
extern void og_action_move(const OgCase *c, const OgRequest *request,
						   OgAnswer *answer);

/* action_backend.c: SPI connected */
extern void og_action_signal(const OgCase *c, const OgRequest *request,
							 OgAnswer *answer);

#endif							/* OG_ACTION_PRIVATE_H */
