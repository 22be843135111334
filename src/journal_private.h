/*
 * journal_private.h
 *		What the journal's writing and reading halves share.
 */
#ifndef OG_JOURNAL_PRIVATE_H
#define OG_JOURNAL_PRIVATE_H

#include "storage/lwlock.h"

#include "journal_file.h"

#define OG_DROP_SLOTS 64

/* All fields but the atomic are under the lock, or set before it is needed. */
typedef struct OgJournalShared
{
	LWLock	   *lock;
	uint32		segments;
	uint32		incarnation;
	uint64		nonce;
	bool		recreated;
	uint32		free;			/* segments in state FREE */
	uint32		partial;		/* segments in state PARTIAL */
	uint32		hint;			/* where to look for a free one */
	uint64		next_lease;
	uint64		next_session;
	uint64		dropped;
	pg_atomic_uint64 corrupt;	/* records whose CRC is wrong */
	struct
	{
		Oid			database;
		uint64		count;
	}			drop[OG_DROP_SLOTS];
	OgSegmentSlot slot[FLEXIBLE_ARRAY_MEMBER];
} OgJournalShared;

extern OgJournalShared *og_journal_shared;
extern OgJournalFile og_journal_file;

extern OgSegmentHeader *og_journal_segment(int number);
extern void og_journal_free_slot(int number);
extern uint32 og_journal_crc_end(const OgRecord *record);

#endif							/* OG_JOURNAL_PRIVATE_H */
