/*
 * unheard.h
 *		What became known of a transaction after its end.
 */
#ifndef OG_UNHEARD_H
#define OG_UNHEARD_H

#include "reader.h"

extern void og_unheard_find(const OgReading *reading, OgXact *xact);
extern void og_unheard_note(OgXact *xact);

#endif							/* OG_UNHEARD_H */
