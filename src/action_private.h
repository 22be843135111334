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
} OgCase;

/* What was asked for. */
typedef struct OgRequest
{
	const char *action;
	const char *note;			/* or NULL */
	Jsonb	   *args;
	char	   *to;				/* move: the new status */
	bool		dry_run;

	/* of answer() */
	const char *verdict;		/* succeeded, failed, pending, unknown */
	Jsonb	   *evidence;
	int64		lease;			/* under which it was asked; 0: not said */

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

/* action.c: raises 22023 if there is no such kind of incident */
extern void og_action_check_kind(Datum kind);

/* action_request.c: checks what was asked, raises 22023 */
extern void og_request_check(OgRequest *request);

/* action_move.c: as the caller, SPI connected */
extern void og_action_move(const OgCase *c, const OgRequest *request,
						   OgAnswer *answer);

/* action_backend.c: SPI connected */
extern void og_action_signal(const OgCase *c, const OgRequest *request,
							 OgAnswer *answer);

/*
 * action_answer.c: what the gateway says, SPI connected.  An answer may
 * concern an incident that is closed; one that is recorded already has its id.
 */
extern void og_action_answer(const OgCase *c, const OgRequest *request,
							 OgAnswer *answer);
extern void og_action_ask_again(const OgCase *c, const OgRequest *request,
								OgAnswer *answer);

#endif							/* OG_ACTION_PRIVATE_H */
