/*
 * outcome_private.h
 *		What the witnesses of an order's outcome share.
 */
#ifndef OG_OUTCOME_PRIVATE_H
#define OG_OUTCOME_PRIVATE_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "journal.h"
#include "reader.h"

/* The order that is asked for: by its key, or by a token. */
typedef struct OgOrder
{
	int			watch;
	Oid			relation;		/* of the watch */
	List	   *keys;			/* of char *: columns */
	char	   *status;			/* column, or (expression) */
	TimestampTz created;		/* what ended before is another watch's */
	const char *gap;			/* why not all may be known; NULL: all is */
	bool		visible;		/* may the caller see what did not commit? */
	bool		by_key;
	bool		named;			/* the caller named the table */
	uint8		hash[16];		/* of the key */
	char	   *token;			/* as its type puts it out */
	int			nvalues;		/* of the columns below */
	char	   *column[OG_MAX_KEYS];
	Oid			type[OG_MAX_KEYS];	/* base types */
	Datum		value[OG_MAX_KEYS];
	bool		null[OG_MAX_KEYS];
	OgWanted	wanted;
} OgOrder;

/* What one witness says; strings may be NULL. */
typedef struct OgTrace
{
	const char *outcome;		/* NULL: nothing is known */
	char		operation;		/* I, U, D; 0: not known */
	const char *key;
	const char *status;
	const char *sqlstate;
	const char *reason;
	const char *basis;
	const char *because;		/* why it is unknown */
	int			pid;			/* 0: none */
	const char *gid;
	uint64		xid;			/* 0: none */
	TimestampTz at;				/* 0: not known */
	bool		final;
	/* the journal only */
	OgXactKey	xact;
	uint64		lsn;			/* of the commit; 0: not known */
	int			rank;
} OgTrace;

/* Both traces are set; bulk: an open transaction the order may be part of. */
extern void og_outcome_journal(const OgOrder *order, OgTrace *trace,
							   OgTrace *bulk);

/* SPI is connected.  They read with a snapshot that is taken here. */
extern OgOrder *og_outcome_order(Oid relation);
extern void og_outcome_attempt(const OgOrder *order, OgTrace *trace);
extern void og_outcome_row(const OgOrder *order, const OgTrace *journal,
						   OgTrace *trace);
extern const char *og_outcome_past(const OgOrder *order);
extern void og_outcome_loss(const OgOrder *order, OgTrace *trace);

#endif							/* OG_OUTCOME_PRIVATE_H */
