/*
 * worker.c
 *		The reader of a database: as drain.c, with effects that are a mark on
 *		the model's transaction, and a commit that is one moment.
 */
#include "check.h"

/* A worker starts: it takes up the position. */
void
worker_start(uint32 database)
{
	for (int i = 0; i < model_positions; i++)
		if (model_position[i].database == database)
			og_journal_restore(model_position[i].lease,
							   model_position[i].consumed);
}

static bool
is_behind(OgXact *xact)
{
	ListCell   *cell;

	foreach(cell, xact->places)
	{
		OgPlace    *place = lfirst(cell);

		if (place->offset > place->segment->limit)
			return true;
	}
	return false;
}

static void
keep_behind(OgReading *reading)
{
	bool		again;
	ListCell   *cell;

	do
	{
		again = false;
		og_reader_limit(reading);
		foreach(cell, reading->xacts)
		{
			OgXact	   *xact = lfirst(cell);

			if (!xact->keep && is_behind(xact))
				again = xact->keep = true;
		}
	} while (again);
}

/* Returns whether there was anything with an effect. */
static bool
apply(OgReading *reading)
{
	bool		effects = false;
	ListCell   *cell;

	foreach(cell, reading->xacts)
	{
		OgXact	   *xact = lfirst(cell);
		ModelXact  *known = model_find_xact(xact->key.session,
											xact->key.xact);

		if (xact->keep || (xact->rows == NIL && xact->failures == NIL))
			continue;
		if (known->applied && !model_stale)
			sim_fail("transaction %u has its effects twice", known->number);
		known->applied = true;
		effects = true;
	}
	return effects;
}

static bool
in_reading(OgReading *reading, uint64 lease)
{
	ListCell   *cell;

	foreach(cell, reading->segments)
		if (((OgSegmentCopy *) lfirst(cell))->lease == lease)
			return true;
	return false;
}

static void
put_position(uint32 database, uint64 lease, uint32 consumed)
{
	ModelPosition *position;

	for (int i = 0; i < model_positions; i++)
		if (model_position[i].lease == lease)
		{
			model_position[i].consumed = Max(model_position[i].consumed,
											 consumed);
			return;
		}
	if (model_positions == MODEL_POSITIONS)
		sim_fail("too many positions");
	position = &model_position[model_positions++];
	position->database = database;
	position->lease = lease;
	position->consumed = consumed;
}

static void
save_position(OgReading *reading, uint32 database)
{
	int			n = 0;
	ListCell   *cell;

	for (int i = 0; i < model_positions; i++)
		if (model_position[i].database != database ||
			in_reading(reading, model_position[i].lease))
			model_position[n++] = model_position[i];
	model_positions = n;
	foreach(cell, reading->segments)
	{
		OgSegmentCopy *segment = lfirst(cell);

		put_position(database, segment->lease, segment->limit);
	}
}

/*
 * worker_drain
 *		A tick.  With "dies" the worker ends between the commit and what comes
 *		after it.  Returns whether anything was read.
 */
bool
worker_drain(uint32 database, bool dies)
{
	OgReading  *reading;
	ListCell   *cell;
	bool		any;

	sim_switch(&sim_postmaster);
	reading = og_reader_read(database);
	check_reading(reading, database);
	foreach(cell, reading->xacts)
	{
		OgXact	   *xact = lfirst(cell);

		xact->keep = xact->end == NULL && xact->newest;
	}
	keep_behind(reading);
	if (apply(reading))
		save_position(reading, database);
	any = reading->xacts != NIL;
	if (!dies)
		foreach(cell, reading->segments)
		{
			OgSegmentCopy *segment = lfirst(cell);

			og_journal_note_corrupt(segment);
			og_journal_consume(segment->number, segment->lease,
							   segment->limit);
		}
	sim_memory_reset();
	return any;
}
