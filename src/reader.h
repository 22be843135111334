/*
 * reader.h
 *		The journal, understood: transactions with their rows and ends.
 */
#ifndef OG_READER_H
#define OG_READER_H

#include "nodes/pg_list.h"

#include "journal.h"

typedef enum OgRowState
{
	OG_ROW_WAITING,				/* candidate that is not a row yet */
	OG_ROW_LIVE,				/* a row, as far as its transaction goes */
	OG_ROW_VOID,				/* candidate that never mattered */
	OG_ROW_REFUSED,				/* candidate whose statement failed */
	OG_ROW_UNDONE				/* rolled back */
} OgRowState;

typedef struct OgRow
{
	OgRowRecord *record;
	OgRowState	state;
	uint64		xid;
	OgEndRecord *end;			/* what undid it, or NULL */
	struct OgRow *moved_to;		/* of a deletion: the order's new key */
	bool		arrived;		/* it is the new key of another row */
} OgRow;

typedef struct OgXactKey
{
	uint64		session;
	uint64		xact;
} OgXactKey;

typedef struct OgPlace
{
	OgSegmentCopy *segment;
	uint32		offset;
} OgPlace;

typedef struct OgXact
{
	OgXactKey	key;
	OgSessionRecord *session;
	OgBeginRecord *begin;
	OgEndRecord *end;			/* OUTCOME; NULL: not in the journal */
	OgOutcome	outcome;
	OgAfterRecord *after;		/* what followed its end, or NULL */
	struct OgXact *consumed;	/* what is left of it, if only that is new */
	List	   *rows;			/* of OgRow */
	List	   *candidates;		/* of OgRow, by number */
	List	   *failures;		/* of OgEndRecord that undid no row */
	List	   *bulk;			/* of OgBulkRecord */
	List	   *places;			/* of OgPlace: where it starts in each segment */
	uint64		records;
	bool		newest;			/* the last one of a session that goes on */
	bool		last;			/* the last one of its session */
	bool		keep;			/* not to be consumed yet */
} OgXact;

typedef struct OgReading
{
	List	   *segments;		/* of OgSegmentCopy */
	List	   *xacts;			/* of OgXact, in order of their ends */
} OgReading;

extern OgReading *og_reader_read(Oid database);
extern OgReading *og_reader_parse(List *segments);
extern void og_reader_understand(OgXact *xact, OgRecord *record);
extern void og_reader_limit(OgReading *reading);

/* values, as text in the current memory context; NULL: none */
extern char *og_reader_value(OgRowRecord *row, OgValueRole role);
extern char *og_reader_key(OgRowRecord *row);
extern bool og_reader_same_key(OgRowRecord *a, OgRowRecord *b, int column);

#endif							/* OG_READER_H */
