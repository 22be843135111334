/*
 * capture.h
 *		The triggers that note rows in the journal.
 */
#ifndef OG_CAPTURE_H
#define OG_CAPTURE_H

#include "nodes/execnodes.h"

extern void og_capture_init(void);

#endif							/* OG_CAPTURE_H */
