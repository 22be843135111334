/*
 * reader.c
 *		The journal, understood: its records put together to transactions.
 *
 * Runs in the worker and in backends that look at in_flight.  Reads copies;
 * everything is allocated in the current memory context.
 */
#include "postgres.h"

#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "access/htup_details.h"
#include "access/transam.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "keytext.h"
#include "reader.h"

#define DIGITS "0123456789"
#define BLANKS " \t\n\v\f\r"

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
	SessionEntry *session;
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
	session = hash_search(parser->sessions, &key.session, HASH_ENTER, NULL);
	session->newest = entry->xact;
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

/* ------------------------------------------------------------------------
 * Values
 * ------------------------------------------------------------------------
 */

static OgValue *
next_value(OgRowRecord *row, OgValue *value)
{
	char	   *end = (char *) row + row->head.length;
	char	   *place;

	if (value == NULL)
		place = (char *) (row + 1);
	else
		place = (char *) (value + 1) + MAXALIGN(value->length);
	if (place + sizeof(OgValue) > end ||
		place + sizeof(OgValue) + ((OgValue *) place)->length > end)
		return NULL;
	return (OgValue *) place;
}

/* An enum's label; NULL if it is gone. */
static char *
enum_label(Oid oid)
{
	HeapTuple	tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(oid));
	char	   *label;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	label = pstrdup(NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel));
	ReleaseSysCache(tuple);
	return label;
}

static char *
varlena_text(OgValue *value, Oid output, bool in_row)
{
	int			length = value->length;
	struct varlena *datum;

	if (value->flags & OG_VALUE_CUT)
		length = pg_mbcliplen((char *) (value + 1), length, length);
	if (value->type == BPCHAROID && !in_row)
		length = bpchartruelen((char *) (value + 1), length);
	datum = palloc(VARHDRSZ + length);
	SET_VARSIZE(datum, VARHDRSZ + length);
	memcpy(VARDATA(datum), value + 1, length);
	return OidOutputFunctionCall(output, PointerGetDatum(datum));
}

/*
 * May somebody have changed what the type's bytes mean since they were noted?
 * A row type's columns can be altered once no table uses it.
 */
static bool
is_fluid(Oid type, Oid output)
{
	return output == F_RECORD_OUT ||
		(type >= FirstNormalObjectId &&
		 (output == F_ARRAY_OUT || output == F_RANGE_OUT ||
		  output == F_MULTIRANGE_OUT));
}

/*
 * A value as a cast to text has it, or as the output of a row with it; NULL
 * for NULL and what is not there.
 */
static char *
value_text(OgValue *value, bool in_row)
{
	HeapTuple	tuple;
	Form_pg_type type;
	Oid			output;
	bool		byval;
	int16		length;
	char		kind;

	if (value->flags & (OG_VALUE_NULL | OG_VALUE_OMITTED))
		return NULL;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(value->type));
	if (!HeapTupleIsValid(tuple))
		return NULL;
	type = (Form_pg_type) GETSTRUCT(tuple);
	output = type->typoutput;
	byval = type->typbyval;
	length = type->typlen;
	kind = type->typtype;
	ReleaseSysCache(tuple);
	if (value->type == BOOLOID && !in_row)
		return pstrdup(*(Datum *) (value + 1) ? "true" : "false");
	if (kind == TYPTYPE_ENUM)
		return enum_label((Oid) *(Datum *) (value + 1));
	if (is_fluid(value->type, output))
		return NULL;
	if (length == -1)
		return varlena_text(value, output, in_row);
	if (byval)
		return OidOutputFunctionCall(output, *(Datum *) (value + 1));
	return OidOutputFunctionCall(output, PointerGetDatum(value + 1));
}

/* Is it a number that fits into numeric, and can be reckoned with? */
static bool
is_number(const char *text)
{
	const char *p = text + strspn(text, BLANKS);
	size_t		before;
	size_t		after = 0;

	p += *p == '+' || *p == '-';
	before = strspn(p, DIGITS);
	p += before;
	if (*p == '.')
		after = strspn(++p, DIGITS);
	p += after;
	if (before + after == 0 || before + after > 200)
		return false;
	if (*p == 'e' || *p == 'E')
	{
		p++;
		p += *p == '+' || *p == '-';
		before = strspn(p, DIGITS);
		if (before < 1 || before > 3)
			return false;
		p += before;
	}
	return p[strspn(p, BLANKS)] == '\0';
}

/* An amount as numeric reads it; NULL if the value is none. */
static char *
amount_text(OgValue *value)
{
	HeapTuple	tuple;
	Oid			output = InvalidOid;
	char	   *text;

	if (value->flags & (OG_VALUE_NULL | OG_VALUE_OMITTED | OG_VALUE_CUT))
		return NULL;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(value->type));
	if (HeapTupleIsValid(tuple))
	{
		output = ((Form_pg_type) GETSTRUCT(tuple))->typoutput;
		ReleaseSysCache(tuple);
	}
	if (output == F_CASH_OUT)	/* would print a currency's sign */
		return OidOutputFunctionCall(F_NUMERIC_OUT,
									 DirectFunctionCall1(cash_numeric,
														 *(Datum *) (value + 1)));
	text = value_text(value, false);
	return text && is_number(text) ? text : NULL;
}

/*
 * og_reader_value
 *		A value as text, NULL for NULL.  An amount is a number, or NULL.
 */
char *
og_reader_value(OgRowRecord *row, OgValueRole role)
{
	OgValue    *value = NULL;

	for (int i = 0; i < row->nvalues; i++)
	{
		value = next_value(row, value);
		if (value == NULL)
			return NULL;
		if (value->role == role)
			return role == OG_VALUE_AMOUNT ? amount_text(value) :
				value_text(value, false);
	}
	return NULL;
}

/* The key's column of this number, or NULL. */
static OgValue *
find_key(OgRowRecord *row, int column)
{
	OgValue    *value = NULL;

	for (int i = 0; i < row->nvalues; i++)
	{
		value = next_value(row, value);
		if (value == NULL || (value->role == OG_VALUE_KEY && column-- == 0))
			return value;
	}
	return NULL;
}

/* Have two records the same value, as far as noted, in a key's column? */
bool
og_reader_same_key(OgRowRecord *a, OgRowRecord *b, int column)
{
	OgValue    *left = find_key(a, column);
	OgValue    *right = find_key(b, column);

	return left && right && left->length == right->length &&
		left->flags == right->flags &&
		memcmp(left + 1, right + 1, left->length) == 0;
}

/*
 * og_reader_key
 *		The key as text: of one column its output, of several the row's.  NULL
 *		if it is longer than what is noted of it, or cannot be read any more.
 */
char *
og_reader_key(OgRowRecord *row)
{
	OgValue    *value = NULL;
	char	   *field[OG_MAX_KEYS];
	bool		in_row = find_key(row, 1) != NULL;
	int			n = 0;

	for (int i = 0; i < row->nvalues && n < OG_MAX_KEYS; i++)
	{
		value = next_value(row, value);
		if (value == NULL)
			break;
		if (value->role != OG_VALUE_KEY)
			continue;
		if (value->flags & (OG_VALUE_CUT | OG_VALUE_OMITTED))
			return NULL;
		field[n] = value_text(value, in_row);
		if (field[n++] == NULL && !(value->flags & OG_VALUE_NULL))
			return NULL;
	}
	return og_keytext_join(field, n);
}
