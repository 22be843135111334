/*
 * journal_private.h
 *		What the journal's writing and reading halves share.
 */
#ifndef OG_JOURNAL_PRIVATE_H
#define OG_JOURNAL_PRIVATE_H

#include "storage/lwlock.h"

#include "journal_file.h"

/* All fields are under the lock, or set before it is needed. */
typedef struct OgJournalShared
{
	LWLock	   *lock;
	uint32		segments;
	uint32		incarnation;
	uint64		nonce;
	bool		recreated;
	uint32		free;			/* segments in state FREE */
	uint32		partial;		/* segments in state PARTIAL */
	uint32		first_free;		/* none before it is */
	uint64		next_lease;
	uint64		next_session;
	uint32		gap;			/* see OgFileHeader */
	uint64		corrupt;		/* records and segments found damaged */
	OgSegmentSlot slot[FLEXIBLE_ARRAY_MEMBER];
} OgJournalShared;

extern OgJournalShared *og_journal_shared;
extern OgJournalFile og_journal_file;

extern OgSegmentHeader *og_journal_segment(int number);
extern List *og_journal_list(uint32 database);
extern List *og_journal_copy_listed(List *segments);
extern bool og_journal_plausible(uint8 type, uint16 length, uint32 offset,
								 uint32 tail);
extern void og_journal_free_slot(int number);
extern uint32 og_journal_crc(uint64 lease, uint32 offset,
							 const OgRecord *record);
extern uint32 og_journal_header_crc(uint32 number, uint64 lease,
									uint32 database);
extern OgBookEntry *og_journal_book_claim(uint32 database);
extern void og_journal_book_free(uint32 database);

#endif							/* OG_JOURNAL_PRIVATE_H */
