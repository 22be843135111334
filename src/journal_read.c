/*
 * journal_read.c
 *		The journal: reading, consuming and freeing.
 *
 * Anybody may read: a reader copies segments and parses the copies.  Only the
 * worker of a database consumes, and only after the effects of what it read
 * are committed.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_crc32c.h"

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
	uint32		tail;

	tail = pg_atomic_read_u32((pg_atomic_uint32 *) &header->tail);
	pg_read_barrier();
	if (tail < sizeof(OgSegmentHeader) || tail > OG_SEGMENT_SIZE)
		return false;
	copy->tail = tail;
	copy->data = palloc(OG_SEGMENT_SIZE);
	memcpy(copy->data, (char *) header, tail);
	pg_read_barrier();
	return header->lease == copy->lease;
}

/*
 * og_journal_copy
 *		Copies all segments of a database that hold records not yet consumed,
 *		in the order of their leases, in the current memory context.
 */
List *
og_journal_copy(uint32 database)
{
	List	   *slots = NIL;
	List	   *copies = NIL;
	ListCell   *cell;

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
		copy->consumed = slot->consumed;
		slots = lappend(slots, copy);
	}
	LWLockRelease(og_journal_shared->lock);
	foreach(cell, slots)
	{
		if (copy_segment(lfirst(cell)))
			copies = lappend(copies, lfirst(cell));
	}
	list_sort(copies, compare_leases);
	return copies;
}

static bool
crc_matches(const OgRecord *record)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, (const char *) record + sizeof(record->crc),
				og_journal_crc_end(record) - sizeof(record->crc));
	FIN_CRC32C(crc);
	return crc == record->crc;
}

/*
 * og_journal_next
 *		The record at *offset, which then moves past it; NULL at the end.
 *		Records whose CRC is wrong are counted and passed over; where even the
 *		length is implausible the rest of the segment is given up.
 */
OgRecord *
og_journal_next(OgSegmentCopy *segment, uint32 *offset)
{
	while (*offset + sizeof(OgRecord) <= segment->tail)
	{
		OgRecord   *record = (OgRecord *) (segment->data + *offset);

		if (record->length < sizeof(OgRecord) ||
			record->length != MAXALIGN(record->length) ||
			*offset + record->length > segment->tail ||
			(record->type == OG_REC_BULK &&
			 record->length < sizeof(OgBulkRecord)))
		{
			pg_atomic_fetch_add_u64(&og_journal_shared->corrupt, 1);
			*offset = segment->tail;
			return NULL;
		}
		*offset += record->length;
		if (crc_matches(record))
			return record;
		pg_atomic_fetch_add_u64(&og_journal_shared->corrupt, 1);
	}
	return NULL;
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

/* How often something of this database could not be written. */
uint64
og_journal_dropped(uint32 database)
{
	uint64		count = 0;

	if (!og_journal_ready())
		return 0;
	LWLockAcquire(og_journal_shared->lock, LW_SHARED);
	for (int i = 0; i < OG_DROP_SLOTS; i++)
		if (og_journal_shared->drop[i].database == database ||
			(i == OG_DROP_SLOTS - 1))
			count += og_journal_shared->drop[i].count;
	LWLockRelease(og_journal_shared->lock);
	return count;
}

uint64
og_journal_corrupt(void)
{
	return og_journal_ready() ?
		pg_atomic_read_u64(&og_journal_shared->corrupt) : 0;
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
	for (uint32 i = 0; i < og_journal_shared->segments; i++)
	{
		OgSegmentSlot *slot = &og_journal_shared->slot[i];

		if (slot->database == database &&
			(slot->state == OG_SEGMENT_FULL ||
			 slot->state == OG_SEGMENT_PARTIAL))
		{
			og_journal_free_slot(i);
			freed++;
		}
	}
	LWLockRelease(og_journal_shared->lock);
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

/*
 * og_journal_fence_after
 *		The fence of the server incarnation that came right after a given one;
 *		false if it is not known.
 */
bool
og_journal_fence_after(uint32 incarnation, uint64 *next_xid)
{
	OgFileHeader header;
	int			entry = (incarnation + 1) % OG_FENCES;

	if (!og_journal_ready() ||
		!og_journal_file_read_header(og_journal_file.fd, &header) ||
		header.fence[entry].incarnation != incarnation + 1 ||
		!header.fence[entry].valid)
		return false;
	*next_xid = header.fence[entry].next_xid;
	return true;
}
