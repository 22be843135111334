/*
 * position.h
 *		How far the journal has been consumed.
 */
#ifndef OG_POSITION_H
#define OG_POSITION_H

#include "reader.h"

/* SPI is connected. */
extern void og_position_start(void);
extern void og_position_save(OgReading *reading);

#endif							/* OG_POSITION_H */
