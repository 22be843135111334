/*
 * capture.h
 *		The triggers that note rows in the journal.
 */
#ifndef OG_CAPTURE_H
#define OG_CAPTURE_H

#include "executor/tuptable.h"

#include "captured.h"

extern Oid og_capture_function;

extern void og_capture_candidate(const OgCaptured *entry,
								 TupleTableSlot *new);
extern void og_capture_row(const OgCaptured *entry, TupleTableSlot *old,
						   TupleTableSlot *new);

#endif							/* OG_CAPTURE_H */
