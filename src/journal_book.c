/*
 * journal_book.c
 *		What the journal's first page holds about databases and about the lives
 *		of the server.
 *
 * The fences are part of the file's header, which is written with pwrite()
 * under the journal's lock.  The book, one entry per database, is written
 * through the mapping: dropped records are counted even in a transaction
 * callback, where nothing may fail.  Both survive a crash.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"

#include "journal_private.h"

StaticAssertDecl(sizeof(OgBookEntry) == 16, "the book is on disk");
StaticAssertDecl(sizeof(OgFileHeader) <= OG_BOOK_OFFSET,
				 "the book stands behind the header");
StaticAssertDecl(OG_BOOK_OFFSET + OG_BOOK_ENTRIES * sizeof(OgBookEntry) <=
				 OG_FILE_HEADER_SIZE, "the book fits the first page");

/* ------------------------------------------------------------------------
 * Fences
 * ------------------------------------------------------------------------
 */

/*
 * Is this the state in which recovery left the server?  So it is if the last
 * checkpoint's redo points at itself; without replication another checkpoint
 * can look like that too, but does no harm as long as no id was given out.  A
 * standby is promoted without a checkpoint: then it is one of another timeline.
 */
static bool
after_recovery(const ControlFileData *control)
{
	return control->checkPoint == control->checkPointCopy.redo &&
		control->checkPointCopy.ThisTimeLineID == GetWALInsertionTimeLine() &&
		(XLogStandbyInfoActive() ||
		 FullTransactionIdEquals(control->checkPointCopy.nextXid,
								 ReadNextFullTransactionId()));
}

/*
 * og_journal_store_fence
 *		Notes below which transaction id the transaction log may be asked
 *		about attempts of the server's earlier incarnation.  Only the
 *		checkpoint at the end of recovery says so; when a later one has taken
 *		its place there is no fence.  Called by the launcher, before it starts
 *		any worker; may throw.
 */
void
og_journal_store_fence(void)
{
	bool		crc_ok;
	ControlFileData *control;
	OgFileHeader *header = &og_journal_file.header;
	uint32		incarnation;
	int			entry;

	if (!og_journal_ready())
		return;
	incarnation = og_journal_shared->incarnation;
	entry = incarnation % OG_FENCES;
	control = get_controlfile(DataDir, &crc_ok);
	LWLockAcquire(og_journal_shared->lock, LW_EXCLUSIVE);
	if (og_journal_file_read_header(og_journal_file.fd, header) &&
		header->fence[entry].incarnation != incarnation)
	{
		header->fence[entry].incarnation = incarnation;
		header->fence[entry].valid = crc_ok && after_recovery(control);
		header->fence[entry].next_xid =
			U64FromFullTransactionId(control->checkPointCopy.nextXid);
		header->opts = og_journal_file_opts();
		og_journal_file_write_header(og_journal_file.fd, header);
	}
	LWLockRelease(og_journal_shared->lock);
	pfree(control);
}

/*
 * og_journal_fence_after
 *		The first fence that is known after an incarnation of the server; false
 *		if there is none.  If it is not that of the next incarnation, it lies
 *		above that one, perhaps.
 */
bool
og_journal_fence_after(uint32 incarnation, uint64 *next_xid, bool *is_next)
{
	OgFileHeader header;
	uint32		current = og_journal_ready() ? og_journal_incarnation() : 0;
	uint32		first = Max(incarnation + 1,
							current < OG_FENCES ? 0 : current - OG_FENCES + 1);

	if (first > current ||
		!og_journal_file_read_header(og_journal_file.fd, &header))
		return false;
	for (uint32 i = first; i <= current; i++)
	{
		int			entry = i % OG_FENCES;

		if (header.fence[entry].incarnation != i || !header.fence[entry].valid)
			continue;
		*next_xid = header.fence[entry].next_xid;
		*is_next = i == incarnation + 1;
		return true;
	}
	return false;
}

/* ------------------------------------------------------------------------
 * The book
 * ------------------------------------------------------------------------
 */

static OgBookEntry *
book(void)
{
	return (OgBookEntry *) (og_journal_file.base + OG_BOOK_OFFSET);
}

/* A database's entry, or NULL.  Needs no lock. */
static OgBookEntry *
find_entry(uint32 database)
{
	static OgBookEntry *last = NULL;

	if (last != NULL && last->database == database)
		return last;
	for (int i = 0; i < OG_BOOK_ENTRIES; i++)
		if (book()[i].database == database)
			return last = &book()[i];
	return NULL;
}

/*
 * og_journal_book_claim
 *		The same; makes one if there is none.  NULL: all are in use.  The lock
 *		is held exclusively.
 */
OgBookEntry *
og_journal_book_claim(uint32 database)
{
	OgBookEntry *entry = find_entry(database);

	if (entry == NULL)
	{
		entry = find_entry(InvalidOid);
		if (entry == NULL)
			return NULL;
		memset(entry, 0, sizeof(*entry));
		entry->database = database;
	}
	return entry;
}

/* A database has no journal any more.  The lock is held exclusively. */
void
og_journal_book_free(uint32 database)
{
	OgBookEntry *entry = find_entry(database);

	if (entry != NULL)
		memset(entry, 0, sizeof(*entry));
}

/*
 * og_journal_count_drop
 *		Something could not be written at all: the worker will sweep.  Takes
 *		no lock once this backend has had a segment.
 */
void
og_journal_count_drop(void)
{
	OgBookEntry *entry = find_entry(MyDatabaseId);

	if (entry == NULL)
	{
		LWLockAcquire(og_journal_shared->lock, LW_EXCLUSIVE);
		entry = og_journal_book_claim(MyDatabaseId);
		LWLockRelease(og_journal_shared->lock);
	}
	if (entry != NULL)
		pg_atomic_fetch_add_u32(&entry->dropped, 1);
}

/* How often something of this database could not be written. */
uint32
og_journal_dropped(uint32 database)
{
	OgBookEntry *entry = og_journal_ready() ? find_entry(database) : NULL;

	return entry ? pg_atomic_read_u32(&entry->dropped) : 0;
}

/*
 * og_journal_unswept
 *		Has anything been dropped for which no sweep was asked for?  That is
 *		noted by og_journal_note_swept() when the request has committed.
 */
bool
og_journal_unswept(uint32 database, uint32 *dropped)
{
	OgBookEntry *entry = og_journal_ready() ? find_entry(database) : NULL;

	*dropped = og_journal_dropped(database);
	return entry != NULL && *dropped != entry->swept;
}

void
og_journal_note_swept(uint32 database, uint32 dropped)
{
	OgBookEntry *entry = og_journal_ready() ? find_entry(database) : NULL;

	if (entry != NULL)
		entry->swept = dropped;
}

/*
 * og_journal_deaths
 *		How many workers of a database, in a row, have died in their first
 *		tick; the one that is in it counts as dead until it has set the number
 *		back.
 */
uint32
og_journal_deaths(uint32 database)
{
	OgBookEntry *entry = og_journal_ready() ? find_entry(database) : NULL;

	return entry && entry->check == (uint16) ~entry->deaths ?
		entry->deaths : 0;
}

static void
write_deaths(OgBookEntry *entry, uint32 deaths)
{
	entry->deaths = Min(deaths, PG_UINT16_MAX);
	entry->check = ~entry->deaths;
}

void
og_journal_set_deaths(uint32 database, uint32 deaths)
{
	OgBookEntry *entry;

	if (!og_journal_ready())
		return;
	LWLockAcquire(og_journal_shared->lock, LW_EXCLUSIVE);
	entry = og_journal_book_claim(database);
	if (entry != NULL)
		write_deaths(entry, deaths);
	LWLockRelease(og_journal_shared->lock);
}

/*
 * og_journal_reset_deaths
 *		The same in a signal handler, where a number has been set before.
 */
void
og_journal_reset_deaths(uint32 database, uint32 deaths)
{
	OgBookEntry *entry = og_journal_ready() ? find_entry(database) : NULL;

	if (entry != NULL)
		write_deaths(entry, deaths);
}
