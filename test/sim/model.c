/*
 * model.c
 *		What was ever written, told apart by what had been published.
 *
 * After each call of the journal the model takes in what has been appended.
 * When the machine stopped in the middle of a call, it looks at the file: of
 * what was being written, either nothing is published or all of it stands
 * there.
 */
#include "model.h"

ModelPending model_pending;
ModelPosition model_position[MODEL_POSITIONS];
int			model_positions;
bool		model_stale;

static ModelLease **leases = NULL;
static int	nleases = 0;
static int	max_leases = 0;
static ModelXact **xacts = NULL;
static int	nxacts = 0;
static int	max_xacts = 0;
static uint64 highest = 0;

/* Another journal: all is forgotten. */
void
model_reset(void)
{
	while (nleases > 0)
		free(leases[--nleases]);
	while (nxacts > 0)
		free(xacts[--nxacts]);
	model_positions = 0;
	model_stale = false;
	memset(&model_pending, 0, sizeof(model_pending));
	highest = 0;
}

int
model_leases(void)
{
	return nleases;
}

ModelLease *
model_lease(int n)
{
	return leases[n];
}

ModelLease *
model_find(uint64 lease)
{
	for (int i = nleases - 1; i >= 0; i--)
		if (leases[i]->lease == lease)
			return leases[i];
	return NULL;
}

static ModelLease *
add_lease(uint64 number, uint32 database, int segment)
{
	ModelLease *lease;

	if (number <= highest && !model_stale)
		sim_fail("lease " UINT64_FORMAT " was given out before", number);
	highest = Max(highest, number);
	if (nleases == max_leases)
	{
		max_leases = Max(64, max_leases * 2);
		leases = realloc(leases, max_leases * sizeof(*leases));
	}
	lease = leases[nleases++] = malloc(sizeof(ModelLease));
	lease->lease = number;
	lease->database = database;
	lease->segment = segment;
	lease->tail = sizeof(OgSegmentHeader);
	lease->gone = false;
	lease->damaged = false;
	lease->nrecords = 0;
	return lease;
}

int
model_xacts(void)
{
	return nxacts;
}

ModelXact *
model_xact(int n)
{
	return xacts[n];
}

ModelXact *
model_find_xact(uint64 session, uint32 number)
{
	for (int i = nxacts - 1; i >= 0; i--)
		if (xacts[i]->session == session && xacts[i]->number == number)
			return xacts[i];
	return NULL;
}

ModelXact *
model_new_xact(SimProcess *process, uint64 session, uint32 number)
{
	ModelXact  *xact;

	if (nxacts == max_xacts)
	{
		max_xacts = Max(64, max_xacts * 2);
		xacts = realloc(xacts, max_xacts * sizeof(*xacts));
	}
	xact = xacts[nxacts++] = calloc(1, sizeof(ModelXact));
	xact->session = session;
	xact->number = number;
	xact->database = process->database;
	xact->owned = true;
	return xact;
}

/* What stands in it may be found, but need not. */
void
model_exempt_lease(ModelLease *lease)
{
	for (int i = 0; i < lease->nrecords; i++)
		if (lease->record[i].xact)
			lease->record[i].xact->exempt = true;
}

/* Are they the same, but for the counter that changes in place? */
bool
model_same_record(const char *a, const char *b)
{
	const OgRecord *left = (const OgRecord *) a;
	const OgRecord *right = (const OgRecord *) b;

	return left->length == right->length && left->type == right->type &&
		memcmp(a, b, left->type == OG_REC_BULK ?
			   offsetof(OgBulkRecord, rows) : left->length) == 0;
}

/* The effect of a published record on its transaction. */
static void
count_record(ModelXact *xact, const OgRecord *record)
{
	if (record->type == OG_REC_ROW)
		xact->rows++;
	else if (record->type == OG_REC_OUTCOME)
		xact->outcome = ((const OgEndRecord *) record)->outcome;
}

/* Is what stands there what was to be written? */
static void
check_record(const ModelLease *lease, const char *at)
{
	const OgRecord *record = (const OgRecord *) at;
	const OgSessionRecord *session = (const OgSessionRecord *) at;

	if (record->crc != og_journal_crc(lease->lease, lease->tail, record))
		sim_fail("a published record is not whole");
	if (record->type == OG_REC_SESSION)
	{
		if (session->pid != model_pending.process->pid)
			sim_fail("a session's record is another's");
	}
	else if (model_pending.record == NULL ||
			 memcmp(at + sizeof(uint32),
					(char *) model_pending.record + sizeof(uint32),
					model_pending.record->length - sizeof(uint32)) != 0)
		sim_fail("another record was published than was written");
}

/* Takes in what has been published in a segment since the last time. */
static void
take_in(ModelLease *lease, const char *segment, uint32 tail)
{
	if (tail < lease->tail || tail > OG_SEGMENT_SIZE)
		sim_fail("a tail moved from %u to %u", lease->tail, tail);
	while (lease->tail < tail)
	{
		const OgRecord *record = (const OgRecord *) (segment + lease->tail);
		ModelRecord *entry = &lease->record[lease->nrecords++];

		if (record->length < sizeof(OgRecord) ||
			lease->tail + record->length > tail)
			sim_fail("a published record has no length");
		check_record(lease, segment + lease->tail);
		entry->offset = lease->tail;
		entry->length = record->length;
		entry->xact = record->type == OG_REC_SESSION ? NULL :
			model_pending.xact;
		if (entry->xact)
			count_record(entry->xact, record);
		memcpy(lease->bytes + lease->tail, record, record->length);
		lease->tail += record->length;
	}
}

/* Looks at a segment's header, in memory or in the file. */
static void
look_at(int number, const char *segment)
{
	const OgSegmentHeader *header = (const OgSegmentHeader *) segment;
	ModelLease *lease;

	if (header->lease == 0 || header->crc !=
		og_journal_header_crc(number, header->lease, header->database))
		return;					/* free, or damaged before */
	lease = model_find(header->lease);
	if (lease == NULL)
	{
		if (model_pending.process == NULL)
			sim_fail("a lease that nobody took");
		lease = add_lease(header->lease, model_pending.process->database,
						  number);
	}
	if (lease->segment != number || lease->database != header->database)
		sim_fail("a lease in another place");
	if (!lease->gone && !lease->damaged)
		take_in(lease, segment, header->tail.value);
}

/* After a call of the journal that has returned. */
void
model_publish(void)
{
	for (uint32 i = 0; i < og_journal_shared->segments; i++)
		look_at(i, (char *) og_journal_segment(i));
	memset(&model_pending, 0, sizeof(model_pending));
}

/* After a stop in the middle of one. */
void
model_resolve(const char *file)
{
	for (int i = 0; i < SIM_SEGMENTS; i++)
		look_at(i, file + OG_FILE_HEADER_SIZE +
				(size_t) i * OG_SEGMENT_SIZE);
	for (int i = 0; i < nxacts; i++)
		xacts[i]->owned = false;
	memset(&model_pending, 0, sizeof(model_pending));
}
