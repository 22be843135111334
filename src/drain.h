/*
 * drain.h
 *		From the journal to the tracker and the attempts.
 */
#ifndef OG_DRAIN_H
#define OG_DRAIN_H

#include "reader.h"

extern uint64 og_drain_run(OgReading *reading, bool careful);
extern int	og_drain_left(const OgReading *reading);
extern void og_drain_consume(OgReading *reading);

#endif							/* OG_DRAIN_H */
