/*
 * capture.h
 *		The triggers that note rows in the journal.
 */
#ifndef OG_CAPTURE_H
#define OG_CAPTURE_H

#include "nodes/execnodes.h"

extern void og_capture_init(void);
extern uint32 og_capture_watch_of(ResultRelInfo *info);

#endif							/* OG_CAPTURE_H */
