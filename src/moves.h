/*
 * moves.h
 *		Orders that went on under another key.
 */
#ifndef OG_MOVES_H
#define OG_MOVES_H

#include "reader.h"

extern void og_moves_mark(OgXact *xact);

#endif							/* OG_MOVES_H */
