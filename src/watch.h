/*
 * watch.h
 *		The watches, as the worker sees them.
 */
#ifndef OG_WATCH_H
#define OG_WATCH_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

typedef enum OgVanishedOption
{
	OG_VANISHED_EACH,
	OG_VANISHED_GROUP,
	OG_VANISHED_OFF
} OgVanishedOption;

typedef struct OgDeadline
{
	char	   *status;
	int64		allowed;		/* microseconds */
} OgDeadline;

/* Names are quoted, ready for SQL. */
typedef struct OgWatch
{
	int			id;
	Oid			relation;		/* InvalidOid: it was dropped */
	Oid			listed;			/* its Oid, even if it was dropped */
	Oid			owner;
	TimestampTz created;		/* what ended before is another watch's */
	char		kind;			/* relkind */
	char	   *name;			/* schema.table, quoted where it must be; of
								 * a dropped table, what it was called */
	char	   *alias;			/* table, the same */
	List	   *keys;			/* of char *: columns */
	List	   *types;			/* of char *: their types */
	char	   *status;			/* column or (expression) */
	bool		expression;
	List	   *deadlines;		/* of OgDeadline */
	char	   *since;			/* or NULL, as all below */
	char	   *token;
	char	   *token_type;
	char	   *amount;
	char	   *customer;
	OgVanishedOption vanished;
	char	   *sweep;			/* why a sweep is wanted */
	Oid			sweep_leaf;
	int64		sweep_block;
	bool		sweep_early;	/* some that came unnoted are open still */
	bool		sweep_again;	/* were when the sweep began */
	char	   *coverage;
	char	   *error;			/* last_error, when the tick began */
	bool		handlers;		/* it has some */
	bool		failed;			/* in this tick */
	bool		busy;			/* in this tick: somebody holds a lock */
	bool		read;			/* in this tick: a query succeeded */
} OgWatch;

/*
 * The row of watch $1, unless somebody's watch() or unwatch() holds it: the
 * worker never waits.
 */
#define OG_WATCH_STATE_FREE \
	"WHERE watch = (SELECT s.watch FROM order_guard.watch_state s " \
	"WHERE s.watch = $1 FOR NO KEY UPDATE SKIP LOCKED)"

extern List *og_watches;

/* Something may be different from what was loaded. */
extern bool og_watches_outdated;

extern void og_watch_tell(void);
extern void og_watch_load_all(void);
extern OgWatch *og_watch_find(int id);
extern bool og_watch_covers(const OgWatch *watch, Oid relation);
extern bool og_watch_counts(const OgWatch *watch, Oid relation);
extern const OgDeadline *og_watch_deadline(const OgWatch *watch,
										   const char *status);
extern void og_watch_request_sweep(int id, const char *reason);
extern void og_watch_retry_requests(void);
extern char *og_watch_key_expression(const OgWatch *watch);

#endif							/* OG_WATCH_H */
