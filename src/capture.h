/*
 * capture.h
 *		The triggers that note rows in the journal.
 */
#ifndef OG_CAPTURE_H
#define OG_CAPTURE_H

#include "executor/tuptable.h"
#include "utils/rel.h"

typedef struct OgCaptured OgCaptured;

extern Oid og_capture_function;

extern void og_capture_init(void);
extern const OgCaptured *og_capture_find(Relation relation,
										 const Trigger *trigger);
extern uint32 og_capture_as_of(const OgCaptured *entry);
extern void og_capture_row(const OgCaptured *entry, TupleTableSlot *old,
						   TupleTableSlot *new);

#endif							/* OG_CAPTURE_H */
