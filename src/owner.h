/*
 * owner.h
 *		Queries on guarded tables, and other code of their owners.
 */
#ifndef OG_OWNER_H
#define OG_OWNER_H

#include "watch.h"

typedef enum OgOwnerResult
{
	OG_OWNER_DONE,
	OG_OWNER_BUSY,				/* locked: later */
	OG_OWNER_POISONED,			/* some row's data made an error */
	OG_OWNER_FAILED				/* the error is noted on the watch */
} OgOwnerResult;

/* SPI is connected; SPI_tuptable holds the result when done. */
extern OgOwnerResult og_owner_query(OgWatch *watch, const char *sql, int nargs,
									Oid *types, Datum *values);

/*
 * The same, but an error that one row may have made is not noted: *message
 * is set, and the caller looks for the row.
 */
extern OgOwnerResult og_owner_try(OgWatch *watch, const char *sql, int nargs,
								  Oid *types, Datum *values, char **message);
extern void og_owner_note_error(OgWatch *watch, const char *message);

/*
 * owner_call.c.  Runs run(arg) as the owner of a watched table: in a
 * sub-transaction, restricted, with pinned settings, all constraints
 * immediate, and a time limit in ms.  In a transaction of the worker with an
 * active snapshot; run() may use the SPI connection that is open, or one of
 * its own, and returns in the memory context that it was called in.
 *
 * DONE: what it did stands.  Else it was undone: FAILED, *error says why (if
 * it is NULL the table is gone; if error is NULL the error is noted on the
 * watch).  BUSY: somebody holds a lock; *error may be NULL.
 *
 * The time limit gives an error of SQLSTATE 57014; the caller has to see to
 * it that the same thing is not tried again at once.
 */
extern OgOwnerResult og_owner_call(OgWatch *watch, int limit_ms,
								   void (*run) (void *), void *arg,
								   ErrorData **error);

/* What this and queries share; only writes heed FORCE ROW LEVEL SECURITY. */
extern OgOwnerResult og_owner_run(Oid relation, int limit_ms, bool writes,
								  void (*run) (void *), void *arg,
								  ErrorData **error);

/* A limit for something else, such as a commit: error 57014. */
extern void og_owner_begin_limit(int ms);
extern void og_owner_end_limit(void);

/* Within run(): another setting that ends with it. */
extern void og_owner_pin(const char *name, const char *value);

#endif							/* OG_OWNER_H */
