/*
 * journal_read.c
 *		The journal: reading, consuming and freeing.
 *
 * Anybody may read: a reader copies segments and parses the copies.  Only the
 * worker of a database consumes, and only after the effects of what it read
 * are committed.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "miscadmin.h"

#include "journal_private.h"

static int
compare_leases(const ListCell *a, const ListCell *b)
{
	uint64		left = ((OgSegmentCopy *) lfirst(a))->lease;
	uint64		right = ((OgSegmentCopy *) lfirst(b))->lease;

	return left < right ? -1 : left > right;
}

/* Copies one; false if it was freed meanwhile. */
static bool
copy_segment(OgSegmentCopy *copy)
{
	volatile OgSegmentHeader *header = og_journal_segment(copy->number);

	if (copy->tail < sizeof(OgSegmentHeader) || copy->tail > OG_SEGMENT_SIZE)
		return false;
	if (copy->tail == copy->consumed)
		return true;
	copy->data = palloc(copy->tail);
	memcpy(copy->data, (char *) header, copy->tail);
	pg_read_barrier();
	return header->lease == copy->lease;
}

/*
 * og_journal_list
 *		All segments of a database in use, without their data.  The tails are
 *		read under the lock, under which sessions change segments: so of each
 *		session all is seen up to one moment.
 */
List *
og_journal_list(uint32 database)
{
	List	   *slots = NIL;

	if (!og_journal_ready())
		return NIL;
	LWLockAcquire(og_journal_shared->lock, LW_SHARED);
	for (uint32 i = 0; i < og_journal_shared->segments; i++)
	{
		OgSegmentSlot *slot = &og_journal_shared->slot[i];
		OgSegmentCopy *copy;

		if (slot->state == OG_SEGMENT_FREE || slot->database != database)
			continue;
		copy = palloc0(sizeof(OgSegmentCopy));
		copy->number = i;
		copy->lease = slot->lease;
		copy->state = slot->state;
		copy->session = slot->session;
		copy->consumed = slot->consumed;
		copy->checked = slot->checked;
		copy->tail = pg_atomic_read_u32(&og_journal_segment(i)->tail);
		slots = lappend(slots, copy);
	}
	LWLockRelease(og_journal_shared->lock);
	pg_read_barrier();
	return slots;
}

/*
 * og_journal_copy_listed
 *		Copies listed segments, in the order of their leases; those that were
 *		freed meanwhile are left out.
 */
List *
og_journal_copy_listed(List *segments)
{
	List	   *copies = NIL;
	ListCell   *cell;

	foreach(cell, segments)
	{
		if (copy_segment(lfirst(cell)))
			copies = lappend(copies, lfirst(cell));
	}
	list_sort(copies, compare_leases);
	return copies;
}

/*
 * og_journal_copy
 *		Copies all segments of a database in which there is something that
 *		nobody has consumed, in the current memory context.  Of the others
 *		there is only the position.
 */
List *
og_journal_copy(uint32 database)
{
	return og_journal_copy_listed(og_journal_list(database));
}

/*
 * og_journal_plausible
 *		Is the length of a record possible, where it stands and for its type?
 */
bool
og_journal_plausible(uint8 type, uint16 length, uint32 offset, uint32 tail)
{
	static const uint32 least[] = {
		[OG_REC_SESSION] = sizeof(OgSessionRecord),
		[OG_REC_BEGIN] = sizeof(OgBeginRecord),
		[OG_REC_ROW] = sizeof(OgRowRecord),
		[OG_REC_CONFIRM] = sizeof(OgConfirmRecord),
		[OG_REC_SUBABORT] = OG_END_LENGTH,
		[OG_REC_OUTCOME] = OG_END_SHORT,
		[OG_REC_BULK] = sizeof(OgBulkRecord),
		[OG_REC_AFTER] = sizeof(OgAfterRecord),
	};

	return length >= sizeof(OgRecord) && length == MAXALIGN(length) &&
		offset + length <= tail &&
		(type >= lengthof(least) || length >= least[type]);
}

/* Counts a damaged record that nobody has counted. */
static void
note_damage(OgSegmentCopy *segment, uint32 offset)
{
	if (offset >= segment->checked)
		segment->corrupt++;
}

/*
 * og_journal_next
 *		The record at *offset, which then moves past it; NULL at the end.
 *		Records whose CRC is wrong are passed over; where even the length is
 *		implausible the rest of the segment is given up.  After a gap in which
 *		another session may have begun segment->broken is set.  Of a segment
 *		with nothing new there are no records.
 */
OgRecord *
og_journal_next(OgSegmentCopy *segment, uint32 *offset)
{
	uint32		start = *offset;

	if (segment->data == NULL)
		return NULL;
	while (*offset + sizeof(OgRecord) <= segment->tail)
	{
		OgRecord   *record = (OgRecord *) (segment->data + *offset);

		if (!og_journal_plausible(record->type, record->length, *offset,
								  segment->tail))
			break;
		if (og_journal_crc(segment->lease, *offset, record) == record->crc)
		{
			segment->broken = *offset - start >= sizeof(OgSessionRecord);
			*offset += record->length;
			return record;
		}
		note_damage(segment, *offset);
		*offset += record->length;
	}
	if (*offset != segment->tail)
		note_damage(segment, *offset);
	*offset = segment->tail;
	return NULL;
}

/*
 * og_journal_note_corrupt
 *		Counts what was found damaged in a segment; once.
 */
void
og_journal_note_corrupt(const OgSegmentCopy *segment)
{
	OgSegmentSlot *slot;

	if (segment->corrupt == 0)
		return;
	slot = &og_journal_shared->slot[segment->number];
	LWLockAcquire(og_journal_shared->lock, LW_EXCLUSIVE);
	if (slot->lease == segment->lease)
		slot->checked = segment->tail;
	og_journal_shared->corrupt += segment->corrupt;
	LWLockRelease(og_journal_shared->lock);
}

/*
 * og_journal_consume
 *		What stands before "offset" is done with.  Frees the segment when all
 *		of it is and nobody writes it any more.
 */
void
og_journal_consume(int number, uint64 lease, uint32 offset)
{
	OgSegmentSlot *slot;

	if (!og_journal_ready() || number >= (int) og_journal_shared->segments)
		return;
	slot = &og_journal_shared->slot[number];
	LWLockAcquire(og_journal_shared->lock, LW_EXCLUSIVE);
	if (slot->lease == lease && slot->state != OG_SEGMENT_FREE)
	{
		slot->consumed = Max(slot->consumed, offset);
		if (slot->state != OG_SEGMENT_LEASED && slot->consumed >=
			pg_atomic_read_u32(&og_journal_segment(number)->tail))
			og_journal_free_slot(number);
	}
	LWLockRelease(og_journal_shared->lock);
}

/*
 * og_journal_restore
 *		A worker takes up the position that was stored for a lease.
 */
void
og_journal_restore(uint64 lease, uint32 offset)
{
	for (uint32 i = 0; i < og_journal_shared->segments; i++)
		if (og_journal_shared->slot[i].lease == lease)
			og_journal_consume(i, lease, offset);
}

/* Records and segments found damaged since the server started. */
uint64
og_journal_corrupt(void)
{
	uint64		corrupt;

	if (!og_journal_ready())
		return 0;
	LWLockAcquire(og_journal_shared->lock, LW_SHARED);
	corrupt = og_journal_shared->corrupt;
	LWLockRelease(og_journal_shared->lock);
	return corrupt;
}

void
og_journal_usage(uint32 *segments, uint32 *used)
{
	*segments = *used = 0;
	if (!og_journal_ready())
		return;
	LWLockAcquire(og_journal_shared->lock, LW_SHARED);
	*segments = og_journal_shared->segments;
	*used = og_journal_shared->segments - og_journal_shared->free;
	LWLockRelease(og_journal_shared->lock);
}

/* Does nobody write this segment of the database any more?  Lock held. */
static bool
is_at_rest(const OgSegmentSlot *slot, uint32 database)
{
	return slot->database == database &&
		(slot->state == OG_SEGMENT_FULL || slot->state == OG_SEGMENT_PARTIAL);
}

/*
 * og_journal_free_database
 *		Frees what nobody writes of a database that has no reader.
 */
int
og_journal_free_database(uint32 database)
{
	int			freed = 0;

	if (!og_journal_ready())
		return 0;
	LWLockAcquire(og_journal_shared->lock, LW_EXCLUSIVE);
	og_journal_book_free(database);
	for (uint32 i = 0; i < og_journal_shared->segments; i++)
	{
		if (is_at_rest(&og_journal_shared->slot[i], database))
		{
			og_journal_free_slot(i);
			freed++;
		}
	}
	LWLockRelease(og_journal_shared->lock);
	return freed;
}

/*
 * og_journal_set_aside
 *		Frees what nobody writes of a database whose workers die of it, after
 *		it was written to a file beside the journal, for whoever wants to know
 *		why.  Returns the number of segments.  It counts as a drop, with the
 *		number *dropped, so that the loss is known whatever becomes of this
 *		worker.
 */
int
og_journal_set_aside(uint32 database, uint32 *dropped)
{
	char		path[MAXPGPATH + 32];
	OgBookEntry *entry;
	int			freed = 0;
	int			fd;

	*dropped = 0;
	if (!og_journal_ready())
		return 0;
	snprintf(path, sizeof(path), "%s.damaged.%u", og_journal_file.path,
			 database);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
			  pg_file_create_mode);
	LWLockAcquire(og_journal_shared->lock, LW_EXCLUSIVE);
	entry = og_journal_book_claim(database);
	if (entry != NULL)
		*dropped = pg_atomic_add_fetch_u32(&entry->dropped, 1);
	for (uint32 i = 0; i < og_journal_shared->segments; i++)
	{
		if (!is_at_rest(&og_journal_shared->slot[i], database))
			continue;
		if (fd >= 0 && write(fd, og_journal_segment(i), OG_SEGMENT_SIZE) !=
			OG_SEGMENT_SIZE)
		{
			close(fd);			/* no room: without it then */
			fd = -1;
		}
		og_journal_free_slot(i);
		freed++;
	}
	LWLockRelease(og_journal_shared->lock);
	if (fd >= 0)
		close(fd);
	return freed;
}

/* The databases that hold segments: a list of Oids. */
List *
og_journal_databases(void)
{
	List	   *databases = NIL;

	if (!og_journal_ready())
		return NIL;
	LWLockAcquire(og_journal_shared->lock, LW_SHARED);
	for (uint32 i = 0; i < og_journal_shared->segments; i++)
		if (og_journal_shared->slot[i].state != OG_SEGMENT_FREE)
			databases = list_append_unique_oid(databases,
											   og_journal_shared->slot[i].database);
	LWLockRelease(og_journal_shared->lock);
	return databases;
}
