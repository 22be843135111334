/*
 * owner.h
 *		Queries on guarded tables, run as their owners.
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

#endif							/* OG_OWNER_H */
