/*
 * bulk.h
 *		Which keys the rows have that are counted only.
 */
#ifndef OG_BULK_H
#define OG_BULK_H

#include "executor/tuptable.h"

#include "captured.h"
#include "journal.h"

/* writer */
extern void og_bulk_note(OgBulkRecord *bulk, const OgCaptured *entry,
						 TupleTableSlot *slot);
extern void og_bulk_remember(const OgCaptured *entry, TupleTableSlot *slot);
extern void og_bulk_note_remembered(OgBulkRecord *bulk);

/* reader */
extern char *og_bulk_key(const OgBulkKey *key);
extern char *og_bulk_keys(const OgBulkRecord *bulk);

#endif							/* OG_BULK_H */
