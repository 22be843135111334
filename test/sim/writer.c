/*
 * writer.c
 *		The backends that write: transactions with rows, candidates,
 *		savepoints and ends, as attempt.c writes them.
 */
#include "check.h"

#define KEEP	(OG_END_MAX + sizeof(OgBeginRecord) + 2 * OG_END_LENGTH)

/* What a backend knows of its transaction; beside SimProcess. */
typedef struct Writer
{
	uint32		number;
	ModelXact  *xact;			/* NULL: none is open */
	uint32		candidates;
	uint32		subxact;
} Writer;

static Writer writers[SIM_PROCESSES];
static uint64 dropped[SIM_DATABASES];
/* Distance of the keys of two transactions. */
#define KEYS	1000

static int	transactions = 0;

static Writer *
writer_of(SimProcess *process)
{
	return &writers[process - sim_process];
}

/* Another epoch begins. */
void
writer_reset(void)
{
	memset(writers, 0, sizeof(writers));
	transactions = 0;
	sim_next_xid = 1000;
}

/* The backend is another one now. */
void
writer_forget(SimProcess *process)
{
	memset(writer_of(process), 0, sizeof(Writer));
}

uint64
writer_dropped(uint32 database)
{
	return dropped[database - SIM_FIRST_DATABASE];
}

void
writer_set_dropped(uint32 database, uint64 n)
{
	dropped[database - SIM_FIRST_DATABASE] = n;
}

static void *
append(SimProcess *process, OgRecord *record)
{
	Writer	   *writer = writer_of(process);
	void	   *place;

	record->xact = writer->number;
	model_pending.process = process;
	model_pending.record = record;
	model_pending.xact = writer->xact;
	place = og_journal_append(record);
	model_publish();
	return place;
}

static bool
reserve(SimProcess *process, uint32 length)
{
	bool		done;

	model_pending.process = process;
	done = og_journal_reserve(length, KEEP);
	model_publish();
	if (!done)
	{
		og_journal_count_drop();
		dropped[process->database - SIM_FIRST_DATABASE]++;
	}
	return done;
}

static void
add_value(OgRowRecord *row, Oid type, uint8 role, const void *bytes,
		  uint16 length)
{
	OgValue    *value = (OgValue *) ((char *) row + row->head.length);

	value->type = type;
	value->length = length;
	value->role = role;
	memcpy(value + 1, bytes, length);
	row->nvalues++;
	row->head.length += sizeof(OgValue) + MAXALIGN(length);
}

/* A row with the transaction's next key and a token of any length. */
static OgRowRecord *
make_row(Writer *writer)
{
	static union
	{
		OgRowRecord row;
		char		bytes[1024];
	}			buffer;
	int64		key = writer->xact->first_key + writer->xact->rows;
	char		token[OG_MAX_VALUE];

	memset(&buffer, 0, sizeof(buffer));
	buffer.row.head.type = OG_REC_ROW;
	buffer.row.head.length = sizeof(OgRowRecord);
	buffer.row.head.subxact = writer->subxact;
	buffer.row.xid = sim_next_xid;
	buffer.row.watch = 1;
	buffer.row.operation = 'I';
	memset(token, 'a' + sim_random(26), sizeof(token));
	add_value(&buffer.row, 20, OG_VALUE_KEY, &key, sizeof(key));
	add_value(&buffer.row, 25, OG_VALUE_TOKEN, token,
			  sim_random(OG_MAX_VALUE));
	return &buffer.row;
}

static bool
begin(SimProcess *process)
{
	Writer	   *writer = writer_of(process);
	OgBeginRecord record = {0};

	if (!reserve(process, sizeof(record)))
		return false;
	writer->number++;
	writer->xact = model_new_xact(process, og_journal_session(),
								  writer->number);
	writer->xact->first_key = ++transactions * KEYS;
	writer->candidates = 0;
	writer->subxact = 1;
	sim_next_xid++;
	record.head.type = OG_REC_BEGIN;
	record.head.length = sizeof(record);
	append(process, &record.head);
	return true;
}

/* A row, or a candidate that is confirmed at once. */
static void
write_row(SimProcess *process)
{
	Writer	   *writer = writer_of(process);
	OgRowRecord *row = make_row(writer);
	OgConfirmRecord confirm = {0};

	if (sim_chance(30))
		row->head.flags = OG_ROW_CANDIDATE;
	if (!reserve(process, row->head.length + sizeof(confirm)))
		return;
	append(process, &row->head);
	if (row->head.flags == 0)
		return;
	confirm.head.type = OG_REC_CONFIRM;
	confirm.head.length = sizeof(confirm);
	confirm.head.subxact = writer->subxact;
	confirm.candidate = writer->candidates++;
	append(process, &confirm.head);
}

/* Rows that are only counted, in place. */
static void
write_bulk(SimProcess *process)
{
	OgBulkRecord record = {0};
	OgBulkRecord *place;

	record.head.type = OG_REC_BULK;
	record.head.length = sizeof(record);
	record.watch = 1;
	if (!reserve(process, sizeof(record)))
		return;
	place = append(process, &record.head);
	pg_atomic_fetch_add_u64(&place->rows, sim_random(10));
}

static void
write_end(SimProcess *process, uint8 type)
{
	Writer	   *writer = writer_of(process);
	OgEndRecord record;

	memset(&record, 0, sizeof(record));
	record.head.type = type;
	record.head.subxact = 2;
	if (type == OG_REC_OUTCOME)
		record.outcome = sim_chance(70) ? OG_COMMITTED : OG_ROLLED_BACK;
	record.head.length = record.outcome == OG_COMMITTED ? OG_END_SHORT :
		OG_END_LENGTH;
	if (!og_journal_has_room(record.head.length))
		sim_fail("there is no room for an end");
	append(process, &record.head);
	writer->subxact = 1;
	if (type == OG_REC_OUTCOME)
	{
		writer->xact->owned = false;
		writer->xact = NULL;
	}
}

/* Something that a backend does. */
void
writer_step(SimProcess *process)
{
	Writer	   *writer = writer_of(process);
	uint32		what = sim_random(100);

	sim_switch(process);
	if (writer->xact == NULL && !begin(process))
		return;
	if (what < 70)
		write_row(process);
	else if (what < 73)
		write_bulk(process);
	else if (what < 77)
		writer->subxact = 2;
	else if (what < 80 && writer->subxact == 2 && reserve(process, 0))
		write_end(process, OG_REC_SUBABORT);
	else
		write_end(process, OG_REC_OUTCOME);
}

/* Its transaction ends, then it. */
void
writer_finish(SimProcess *process)
{
	sim_switch(process);
	if (writer_of(process)->xact)
		write_end(process, OG_REC_OUTCOME);
	sim_exit(process);
	writer_forget(process);
}
