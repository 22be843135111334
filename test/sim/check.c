/*
 * check.c
 *		What has to hold, at rest and after each stop.
 */
#include "check.h"

/* ------------------------------------------------------------------------
 * The pool
 * ------------------------------------------------------------------------
 */

/* Is all that had effects in this lease taken in? */
static void
check_freed(ModelLease *lease)
{
	for (int i = 0; i < lease->nrecords; i++)
	{
		ModelXact  *xact = lease->record[i].xact;

		if (xact && xact->rows > 0 && !xact->applied && !xact->exempt)
			sim_fail("lease " UINT64_FORMAT " was freed with transaction %u",
					 lease->lease, xact->number);
	}
	lease->gone = true;
}

static bool
is_held(const ModelLease *lease)
{
	for (uint32 i = 0; i < og_journal_shared->segments; i++)
		if (og_journal_shared->slot[i].state != OG_SEGMENT_FREE &&
			og_journal_shared->slot[i].lease == lease->lease)
			return true;
	return false;
}

/* A slot agrees with its segment and with the model. */
static void
check_slot(uint32 number)
{
	OgSegmentSlot *slot = &og_journal_shared->slot[number];
	OgSegmentHeader *header = og_journal_segment(number);
	ModelLease *lease = model_find(slot->lease);

	if (lease == NULL || lease->gone)
		sim_fail("segment %u holds a lease that is not known", number);
	if (lease->segment != (int) number)
		sim_fail("segment %u holds the lease of segment %d", number,
				 lease->segment);
	if (header->lease != slot->lease || header->database != slot->database ||
		lease->database != slot->database)
		sim_fail("segment %u is not what its slot says", number);
	if ((slot->state == OG_SEGMENT_LEASED) != (slot->session != 0))
		sim_fail("segment %u has a session, or none, against its state",
				 number);
}

/*
 * check_accounts
 *		Free and used segments add up, and what has been freed was done with.
 */
void
check_accounts(void)
{
	uint32		count[OG_SEGMENT_FULL + 1] = {0};
	uint32		segments;
	uint32		used;
	int			writers = 0;

	for (uint32 i = 0; i < og_journal_shared->segments; i++)
	{
		count[og_journal_shared->slot[i].state]++;
		if (og_journal_shared->slot[i].state != OG_SEGMENT_FREE)
			check_slot(i);
	}
	for (int i = 0; i < SIM_PROCESSES; i++)
		writers += sim_process[i].alive && sim_process[i].exit_callback;
	og_journal_usage(&segments, &used);
	if (og_journal_shared->free != count[OG_SEGMENT_FREE] ||
		og_journal_shared->partial != count[OG_SEGMENT_PARTIAL] ||
		segments != SIM_SEGMENTS || used != segments - count[OG_SEGMENT_FREE])
		sim_fail("the pool's accounts do not add up");
	if (count[OG_SEGMENT_LEASED] > (uint32) writers)
		sim_fail("%u segments are leased to %d backends",
				 count[OG_SEGMENT_LEASED], writers);
	for (int i = model_leases() - 1; i >= 0; i--)
		if (!model_lease(i)->gone && !is_held(model_lease(i)))
			check_freed(model_lease(i));
}

/* ------------------------------------------------------------------------
 * Records
 * ------------------------------------------------------------------------
 */

static ModelRecord *
find_record(ModelLease *lease, uint32 offset)
{
	for (int i = 0; i < lease->nrecords; i++)
		if (lease->record[i].offset == offset)
			return &lease->record[i];
	return NULL;
}

/* Reads a copy to its end; marks which of the model's records came. */
static void
read_records(OgSegmentCopy *copy, ModelLease *lease, bool *seen)
{
	uint32		offset = sizeof(OgSegmentHeader);
	OgRecord   *record;

	while ((record = og_journal_next(copy, &offset)) != NULL)
	{
		uint32		start = (char *) record - copy->data;
		ModelRecord *known = find_record(lease, start);

		if (known == NULL ||
			!model_same_record((char *) record, lease->bytes + start))
			sim_fail("a record was returned that was never written");
		if (seen[known - lease->record])
			sim_fail("a record was returned twice");
		seen[known - lease->record] = true;
	}
}

/*
 * What is whole has to come, as long as the lengths lead to it; what is not
 * has to be counted.
 */
static void
check_records(OgSegmentCopy *copy, ModelLease *lease, const bool *seen)
{
	bool		damaged = false;
	bool		lost = false;

	for (int i = 0; i < lease->nrecords && !lost; i++)
	{
		ModelRecord *record = &lease->record[i];
		const char *now = copy->data + record->offset;
		const char *was = lease->bytes + record->offset;

		if (record->offset + record->length > copy->tail)
			break;
		if (model_same_record(now, was))
		{
			if (!seen[i])
				sim_fail("a record that is whole was not returned");
			continue;
		}
		damaged = true;
		lost = memcmp(&((const OgRecord *) now)->length,
					  &((const OgRecord *) was)->length,
					  sizeof(uint16) + sizeof(uint8)) != 0;
	}
	if (damaged && copy->corrupt == 0 && copy->checked < copy->tail)
		sim_fail("damage was not counted");
	if (!damaged && copy->corrupt != 0 && copy->tail == lease->tail)
		sim_fail("damage was counted where there is none");
}

/*
 * check_read
 *		Reads all that a database has, record by record, as anybody may at any
 *		moment.
 */
void
check_read(uint32 database)
{
	static bool seen[lengthof(((ModelLease *) 0)->record)];
	List	   *copies = og_journal_copy(database);
	uint64		last = 0;
	ListCell   *cell;

	foreach(cell, copies)
	{
		OgSegmentCopy *copy = lfirst(cell);
		ModelLease *lease = model_find(copy->lease);

		if (lease == NULL || lease->database != database)
			sim_fail("a segment was returned under a lease of nobody");
		if (copy->lease <= last)
			sim_fail("segments were returned out of order");
		last = copy->lease;
		if (copy->data == NULL && copy->consumed != copy->tail)
			sim_fail("a segment was left out that holds something new");
		if (copy->data == NULL)
			continue;
		memset(seen, 0, lease->nrecords * sizeof(bool));
		read_records(copy, lease, seen);
		check_records(copy, lease, seen);
	}
	sim_memory_reset();
}

/* ------------------------------------------------------------------------
 * Transactions
 * ------------------------------------------------------------------------
 */

/* Its rows are its own, in order, each once. */
static void
check_rows(OgXact *xact, ModelXact *known)
{
	int			last = known->first_key - 1;
	ListCell   *cell;

	foreach(cell, xact->rows)
	{
		OgRow	   *row = lfirst(cell);
		char	   *text = og_reader_key(row->record);
		int			key = text ? atoi(text) : -1;

		if (key <= last || key >= known->first_key + known->rows)
			sim_fail("transaction %u has row %s, which is another's",
					 known->number, text ? text : "(none)");
		last = key;
	}
	if (!known->exempt && list_length(xact->rows) != known->rows)
		sim_fail("transaction %u has %d rows of %d", known->number,
				 list_length(xact->rows), known->rows);
}

/*
 * check_reading
 *		Transactions as they were put together.
 */
void
check_reading(OgReading *reading, uint32 database)
{
	ListCell   *cell;

	foreach(cell, reading->xacts)
	{
		OgXact	   *xact = lfirst(cell);
		ModelXact  *known = model_find_xact(xact->key.session,
											xact->key.xact);

		if (known == NULL || known->database != database)
			sim_fail("a transaction was read that never was");
		check_rows(xact, known);
		if (xact->end && xact->end->outcome != known->outcome)
			sim_fail("transaction %u ended otherwise", known->number);
		if (!xact->end && known->outcome != OG_OPEN && !known->exempt)
			sim_fail("the end of transaction %u is missing", known->number);
		if (known->owned && known->outcome == OG_OPEN && !xact->newest &&
			!known->exempt)
			sim_fail("the open transaction %u is taken for lost",
					 known->number);
	}
}

/*
 * check_applied
 *		Nobody writes any more and everything has been drained: so each
 *		transaction has had its effects, and the pool is empty.
 */
void
check_applied(void)
{
	for (int i = 0; i < model_xacts(); i++)
	{
		ModelXact  *xact = model_xact(i);

		if (xact->rows > 0 && !xact->applied && !xact->exempt)
			sim_fail("transaction %u was never taken in", xact->number);
	}
	if (og_journal_shared->free != og_journal_shared->segments)
		sim_fail("the pool is not empty at the end");
}
