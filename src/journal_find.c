/*
 * journal_find.c
 *		The journal: looking for one order.
 *
 * Runs in whoever asks for an outcome.  Copying and parsing a whole journal
 * for the sake of one order would cost milliseconds while orders are placed.
 * So its segments are walked through where they lie, from record to record,
 * and only those of sessions that worked on the order are copied.
 *
 * A segment may be freed and written anew during the walk.  So each length is
 * read once and checked before it is used, and what a match says is believed
 * only when it is found again in a copy, whose lease and CRCs are checked.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "journal_private.h"

typedef struct Finding
{
	const OgWanted *wanted;
	uint64	   *session;		/* those that worked on the order */
	int			sessions;
	int			room;
} Finding;

static bool
is_found(const Finding *finding, uint64 session)
{
	for (int i = finding->sessions - 1; i >= 0; i--)
		if (finding->session[i] == session)
			return true;
	return false;
}

static void
add_session(Finding *finding, uint64 session)
{
	if (is_found(finding, session))
		return;
	if (finding->sessions == finding->room)
	{
		finding->room *= 2;
		finding->session = repalloc(finding->session,
									finding->room * sizeof(uint64));
	}
	finding->session[finding->sessions++] = session;
}

/* Long text is noted in part only. */
static bool
is_token(const OgWanted *wanted, const OgValue *value, uint32 length)
{
	uint8		flags = *(volatile const uint8 *) &value->flags;

	if (flags & (OG_VALUE_NULL | OG_VALUE_OMITTED))
		return false;
	if (flags & OG_VALUE_CUT ? length > wanted->length :
		length != wanted->length)
		return false;
	return memcmp(value + 1, wanted->token, length) == 0;
}

static bool
has_token(const OgWanted *wanted, const OgRowRecord *row, uint32 length)
{
	uint32		offset = sizeof(OgRowRecord);

	while (offset + sizeof(OgValue) <= length)
	{
		const OgValue *value = (const OgValue *) ((const char *) row + offset);
		uint32		size = *(volatile const uint16 *) &value->length;

		if (offset + sizeof(OgValue) + size > length)
			return false;
		if (value->role == OG_VALUE_TOKEN)
			return is_token(wanted, value, size);
		offset += sizeof(OgValue) + MAXALIGN(size);
	}
	return false;
}

/*
 * og_journal_wants
 *		Is a record about the order?  "length" is the record's, checked; it may
 *		lie in the journal itself.
 */
bool
og_journal_wants(const OgWanted *wanted, const OgRecord *record,
				 uint32 length)
{
	const OgRowRecord *row = (const OgRowRecord *) record;

	if (record->type != OG_REC_ROW || row->watch != wanted->watch)
		return false;
	if (wanted->hash)
		return memcmp(row->hash, wanted->hash, sizeof(row->hash)) == 0;
	return has_token(wanted, row, length);
}

/* Rows that are counted only: perhaps the order is one of them. */
static bool
is_bulk(const OgWanted *wanted, const OgRecord *record)
{
	return record->type == OG_REC_BULK &&
		((const OgBulkRecord *) record)->watch == wanted->watch;
}

/*
 * Walks through a segment.  Notes the sessions that worked on the order, or
 * if "find" is false tells whether one of those that are noted writes here.
 */
static bool
walk(Finding *finding, const OgSegmentCopy *segment, bool find)
{
	const char *base = (const char *) og_journal_segment(segment->number);
	uint32		offset = sizeof(OgSegmentHeader);
	uint64		session = 0;

	if (segment->tail > OG_SEGMENT_SIZE)
		return false;
	while (offset + sizeof(OgRecord) <= segment->tail)
	{
		const OgRecord *record = (const OgRecord *) (base + offset);
		uint32		length = *(volatile const uint16 *) &record->length;
		uint8		type = *(volatile const uint8 *) &record->type;

		if (!og_journal_plausible(type, length, offset, segment->tail))
			break;
		if (type == OG_REC_SESSION)
		{
			session = ((const OgSessionRecord *) record)->session;
			if (!find && is_found(finding, session))
				return true;
		}
		else if (find && offset >= segment->consumed &&
				 (og_journal_wants(finding->wanted, record, length) ||
				  is_bulk(finding->wanted, record)))
			add_session(finding, session);
		offset += length;
	}
	return false;
}

/*
 * og_journal_find
 *		Copies of all segments of the sessions that worked on an order, or
 *		wrote more rows of its table than are listed; NIL if there are none.
 */
List *
og_journal_find(uint32 database, const OgWanted *wanted)
{
	List	   *segments = og_journal_list(database);
	List	   *written = NIL;
	Finding		finding = {wanted};
	ListCell   *cell;

	finding.room = 16;
	finding.session = palloc(finding.room * sizeof(uint64));
	foreach(cell, segments)
	{
		CHECK_FOR_INTERRUPTS();
		walk(&finding, lfirst(cell), true);
	}
	if (finding.sessions == 0)
		return NIL;
	foreach(cell, segments)
	{
		if (walk(&finding, lfirst(cell), false))
			written = lappend(written, lfirst(cell));
	}
	return og_journal_copy_listed(written);
}
