/*
 * loss.h
 *		The times at which not all may have been noted.
 */
#ifndef OG_LOSS_H
#define OG_LOSS_H

#include "datatype/timestamp.h"

/*
 * The worker, around each reading of the journal: begin before it, end when
 * its effects are committed.
 */
extern void og_loss_begin_reading(void);
extern void og_loss_end_reading(void);

/* when the reading began, to be kept with the position */
extern TimestampTz og_loss_reading(void);

/* until when a worker before this one had read; 0: there was none */
extern void og_loss_restore(TimestampTz at);

/*
 * Since the last reading something of a watch (0: of all) may have gone
 * unnoted: what committed is swept, the rest remembered.  "because" is what
 * outcome() answers, "reason" a constant.  SPI is connected.
 */
extern void og_loss_note(int watch, const char *because, const char *reason);

/* the same of one watch, since its open incident "coverage"; no sweep */
extern void og_loss_note_coverage(int watch);

/* SPI is connected */
extern void og_loss_retain(int seconds);

#endif							/* OG_LOSS_H */
