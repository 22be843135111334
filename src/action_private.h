/*
 * action_private.h
 *		What action.c and the single actions share.
 */
#ifndef OG_ACTION_PRIVATE_H
#define OG_ACTION_PRIVATE_H

#include "fmgr.h"
#include "lib/stringinfo.h"
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
	char	   *pid;			/* uncommitted; prepared: of who prepared it */
	char	   *backend_start;
	char	   *xact_start;
	char	   *orders_held;
	char	   *gid;			/* prepared */
	char	   *xid;			/* with its epoch */
	char	   *owner;
	char	   *database;
	char	   *shown_key;		/* as those are told who have no rights */
} OgCase;

/* What was asked for. */
typedef struct OgRequest
{
	const char *action;
	const char *note;			/* or NULL */
	Jsonb	   *args;
	char	   *to;				/* move: the new status */
	char	   *gid;			/* of a prepared transaction, or NULL */
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

	/* The proof: see og_proof_expect().  Members of two JSON objects. */
	StringInfo	expected;
	StringInfo	found;
	const char *lock;			/* under which it was found, in words */
} OgAnswer;

/* A row of order_guard.action, all as text. */
typedef struct OgActionRow
{
	int64		incident;
	const char *action;
	const char *by;
	const char *login;			/* or NULL, as all below but args */
	const char *role;
	const char *result;			/* never NULL */
	const char *detail;
	const char *proof;
	const char *note;
	const char *args;
} OgActionRow;

/*
 * What is done about an open transaction or a prepared one no rollback takes
 * back: it is the worker who does it.
 */
extern bool og_action_is_signal(const char *action);
extern bool og_action_is_prepared(const char *action);

/*
 * action.c: does what is asked about one incident, records it, and closes the
 * incident if that is due.  SPI connected; in people's backends, and in the
 * worker for what is unattended.  Throws what the action throws.
 */
extern void og_action_act(int64 incident, const OgRequest *request,
						  OgAnswer *answer);

/* action.c: raises 22023 if there is no such kind of incident */
extern void og_action_check_kind(Datum kind);
/* action.c: reads an incident, with a locking clause or ""; false: none */
extern bool og_action_read_case(int64 id, const char *lock, OgCase *c);

/*
 * action_record.c: notes what was expected and what was found, value NULL
 * for nothing; writes an action, of a person, or of the worker.  SPI
 * connected.
 */
extern void og_proof_expect(OgAnswer *answer, const char *name,
							const char *value);
extern void og_proof_find(OgAnswer *answer, const char *name,
						  const char *value);
extern char *og_proof_text(const OgAnswer *answer);
extern void og_action_sql(const char *sql, int nargs,
						  const Oid *types, Datum *args,
						  const char *nulls);
extern const char *og_action_who(const OgRequest *request);
extern char *og_action_error(const ErrorData *error);
extern void og_action_row(const OgCase *c, const OgRequest *request,
						  const OgAnswer *answer, OgActionRow *row);
extern int64 og_action_insert(const OgActionRow *row);

/*
 * action_queue.c: hands an action to the worker, which writes it down at
 * once, in a transaction of its own; its id.  Throws if the worker does not
 * answer.
 */
extern int64 og_action_submit(const OgActionRow *row);

/* action_request.c: checks what was asked, raises 22023; 22004 for a null */
extern void og_request_check(OgRequest *request);
extern void og_request_refuse_null(FunctionCallInfo fcinfo, int n,
								   const char *name);

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

/* action_handler.c: SPI connected */
extern void og_action_handler(const OgCase *c, const OgRequest *request,
							  OgAnswer *answer);

/*
 * action_backend.c: cancel_query, terminate, doom.  First whether that may be
 * queued; then, in the worker, with the number of the action, doing it: the
 * result is "queued" still if it has to be looked at again.  SPI connected.
 */
extern void og_action_signal(const OgCase *c, const OgRequest *request,
							 OgAnswer *answer);
extern void og_action_send(const OgCase *c, const char *action, int64 id,
						   OgAnswer *answer);

/*
 * action_prepared.c: the same for commit_prepared and rollback_prepared.
 * og_action_verify(): true if it is the one that is meant.  og_action_finish()
 * in a top-level transaction that has not changed a row yet: PostgreSQL's
 * statistics of that end here.  SPI connected.
 */
extern void og_action_prepared(const OgCase *c, const OgRequest *request,
							   OgAnswer *answer);
extern bool og_action_verify(const OgCase *c, OgAnswer *answer);
extern void og_action_finish(const OgCase *c, bool commit, OgAnswer *answer);

/*
 * action_answer.c: what the gateway says, SPI connected.  An answer may
 * concern an incident that is closed; one that is recorded already has its id.
 */
extern void og_action_answer(const OgCase *c, const OgRequest *request,
							 OgAnswer *answer);
extern void og_action_ask_again(const OgCase *c, const OgRequest *request,
								OgAnswer *answer);

#endif							/* OG_ACTION_PRIVATE_H */
