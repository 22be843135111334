/*
 * reader.c
 *		The journal, understood: its records put together to transactions.
 *
 * Runs in the worker and in backends that look at in_flight.  Reads copies;
 * everything is allocated in the current memory context.
 */
#include "postgres.h"

#include "utils/hsearch.h"

#include "reader.h"

typedef struct XactEntry
{
	OgXactKey	key;
	OgXact	   *xact;
} XactEntry;

typedef struct SessionEntry
{
	uint64		session;
	OgXact	   *newest;
} SessionEntry;

typedef struct Parser
{
	OgReading  *reading;
	HTAB	   *xacts;
	HTAB	   *sessions;
	OgSessionRecord *session;	/* who wrote what comes next */
	OgXact	   *xact;			/* what the last record belongs to */
	SessionEntry *entry;		/* and its session */
} Parser;

static HTAB *
make_table(const char *name, Size key, Size entry)
{
	HASHCTL		control = {0};

	control.keysize = key;
	control.entrysize = entry;
	control.hcxt = CurrentMemoryContext;
	return hash_create(name, 256, &control,
					   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static OgXact *
find_xact(Parser *parser, uint32 number)
{
	OgXactKey	key = {parser->session->session, number};
	XactEntry  *entry;
	bool		found;

	if (parser->xact && parser->xact->key.xact == number &&
		parser->xact->key.session == key.session)
		return parser->xact;
	entry = hash_search(parser->xacts, &key, HASH_ENTER, &found);
	if (found)
		return parser->xact = entry->xact;
	entry->xact = parser->xact = palloc0(sizeof(OgXact));
	entry->xact->key = key;
	entry->xact->session = parser->session;
	parser->reading->xacts = lappend(parser->reading->xacts, entry->xact);
	if (parser->entry == NULL || parser->entry->session != key.session)
		parser->entry = hash_search(parser->sessions, &key.session,
									HASH_ENTER, NULL);
	parser->entry->newest = entry->xact;
	return entry->xact;
}

static void
add_row(OgXact *xact, OgRowRecord *record)
{
	OgRow	   *row = palloc0(sizeof(OgRow));

	row->record = record;
	row->xid = record->xid;
	row->state = OG_ROW_LIVE;
	if (record->head.flags & OG_ROW_CANDIDATE)
	{
		row->state = OG_ROW_WAITING;
		xact->candidates = lappend(xact->candidates, row);
	}
	xact->rows = lappend(xact->rows, row);
}

static void
confirm_row(OgXact *xact, OgConfirmRecord *record)
{
	OgRow	   *row;

	if (record->candidate >= (uint32) list_length(xact->candidates))
		return;
	row = list_nth(xact->candidates, record->candidate);
	if (row->state != OG_ROW_WAITING)
		return;
	row->state = OG_ROW_LIVE;
	row->xid = record->xid;
	row->record->head.subxact = record->head.subxact;
}

/* What is undone when sub-transaction "from" and all below it is. */
static void
undo_rows(OgXact *xact, OgEndRecord *end, uint32 from)
{
	ListCell   *cell;
	bool		any = false;

	foreach(cell, xact->rows)
	{
		OgRow	   *row = lfirst(cell);

		if (row->record->head.subxact < from ||
			(row->state != OG_ROW_LIVE && row->state != OG_ROW_WAITING))
			continue;
		if (row->state == OG_ROW_LIVE)
			row->state = OG_ROW_UNDONE;
		else if (row->record->statement == end->statement)
			row->state = OG_ROW_REFUSED;
		else
			row->state = OG_ROW_VOID;
		row->end = end;
		any |= row->state != OG_ROW_VOID;
	}
	if (!any && end->error.watch != 0)
		xact->failures = lappend(xact->failures, end);
}

static void
end_xact(OgXact *xact, OgEndRecord *end)
{
	ListCell   *cell;

	xact->end = end;
	xact->outcome = end->outcome;
	if (end->outcome == OG_ROLLED_BACK)
		undo_rows(xact, end, 0);
	foreach(cell, xact->rows)
	{
		OgRow	   *row = lfirst(cell);

		if (row->state == OG_ROW_WAITING)
			row->state = OG_ROW_VOID;
	}
}

/* In an open transaction only the running statement's candidates wait. */
static void
void_old_candidates(OgXact *xact)
{
	ListCell   *cell;
	OgRow	   *last;

	if (xact->end != NULL || xact->rows == NIL)
		return;
	last = llast(xact->rows);
	foreach(cell, xact->candidates)
	{
		OgRow	   *row = lfirst(cell);

		if (row->state == OG_ROW_WAITING &&
			row->record->statement != last->record->statement)
			row->state = OG_ROW_VOID;
	}
}

/* Notes where a transaction begins in a segment. */
static void
note_place(OgXact *xact, OgSegmentCopy *segment, uint32 offset)
{
	OgPlace    *place;

	if (xact->places != NIL &&
		((OgPlace *) llast(xact->places))->segment == segment)
		return;
	place = palloc(sizeof(OgPlace));
	place->segment = segment;
	place->offset = offset;
	xact->places = lappend(xact->places, place);
}

/* COMMIT said in a failed transaction changes how its end is told. */
static void
add_after(OgXact *xact, OgAfterRecord *record)
{
	xact->after = record;
	if (record->kind == OG_AFTER_SILENT && xact->end != NULL)
		xact->end->error.cause = record->cause;
}

/*
 * og_reader_understand
 *		Adds a record to its transaction.
 */
void
og_reader_understand(OgXact *xact, OgRecord *record)
{
	switch (record->type)
	{
		case OG_REC_BEGIN:
			xact->begin = (OgBeginRecord *) record;
			break;
		case OG_REC_ROW:
			add_row(xact, (OgRowRecord *) record);
			break;
		case OG_REC_CONFIRM:
			confirm_row(xact, (OgConfirmRecord *) record);
			break;
		case OG_REC_SUBABORT:
			undo_rows(xact, (OgEndRecord *) record, record->subxact);
			break;
		case OG_REC_OUTCOME:
			end_xact(xact, (OgEndRecord *) record);
			break;
		case OG_REC_BULK:
			xact->bulk = lappend(xact->bulk, record);
			break;
		case OG_REC_AFTER:
			add_after(xact, (OgAfterRecord *) record);
			break;
		default:
			break;				/* of a later version */
	}
}

/* Parses a segment; of what is consumed already only who wrote it. */
static void
parse_segment(Parser *parser, OgSegmentCopy *segment)
{
	uint32		offset = sizeof(OgSegmentHeader);
	OgRecord   *record;
	uint32		start = offset;
	OgXact	   *xact;

	parser->session = NULL;
	for (; (record = og_journal_next(segment, &offset)) != NULL;
		 start = offset)
	{
		if (segment->broken)
			parser->session = NULL; /* nobody knows who wrote it */
		if (record->type == OG_REC_SESSION)
		{
			parser->session = (OgSessionRecord *) record;
			continue;
		}
		if (start < segment->consumed || parser->session == NULL)
			continue;
		xact = find_xact(parser, record->xact);
		note_place(xact, segment, start);
		xact->records++;
		og_reader_understand(xact, record);
	}
}

/* A session that goes on holds a segment. */
static void
find_newest(Parser *parser)
{
	HASH_SEQ_STATUS scan;
	SessionEntry *entry;
	ListCell   *cell;

	hash_seq_init(&scan, parser->sessions);
	while ((entry = hash_seq_search(&scan)) != NULL)
		entry->newest->last = true;
	foreach(cell, parser->reading->segments)
	{
		OgSegmentCopy *segment = lfirst(cell);
		SessionEntry *session = hash_search(parser->sessions,
											&segment->session, HASH_FIND,
											NULL);

		if (session)
			session->newest->newest = true;
	}
}

/*
 * og_reader_read
 *		Reads what a database's journal holds and nobody has consumed.
 */
OgReading *
og_reader_read(Oid database)
{
	return og_reader_parse(og_journal_copy(database));
}

/*
 * og_reader_parse
 *		Reads copies of segments.  A transaction is complete if all segments of
 *		its session are among them.
 */
OgReading *
og_reader_parse(List *segments)
{
	OgReading  *reading = palloc0(sizeof(OgReading));
	Parser		parser = {0};
	ListCell   *cell;

	reading->segments = segments;
	if (reading->segments == NIL)
		return reading;
	parser.reading = reading;
	parser.xacts = make_table("order_guard transactions",
							  sizeof(OgXactKey), sizeof(XactEntry));
	parser.sessions = make_table("order_guard sessions",
								 sizeof(uint64), sizeof(SessionEntry));
	foreach(cell, reading->segments)
		parse_segment(&parser, lfirst(cell));
	find_newest(&parser);
	foreach(cell, reading->xacts)
		void_old_candidates(lfirst(cell));
	hash_destroy(parser.sessions);
	hash_destroy(parser.xacts);
	return reading;
}

/*
 * og_reader_limit
 *		Sets up to where each segment may be consumed: to the first record of
 *		a transaction that is to be kept.
 */
void
og_reader_limit(OgReading *reading)
{
	ListCell   *cell;
	ListCell   *inner;

	foreach(cell, reading->segments)
	{
		OgSegmentCopy *segment = lfirst(cell);

		segment->limit = segment->tail;
	}
	foreach(cell, reading->xacts)
	{
		OgXact	   *xact = lfirst(cell);

		if (!xact->keep)
			continue;
		foreach(inner, xact->places)
		{
			OgPlace    *place = lfirst(inner);

			place->segment->limit = Min(place->segment->limit, place->offset);
		}
	}
}
