/*
 * attempts.h
 *		What did not simply commit, as rows of order_guard.attempt.
 */
#ifndef OG_ATTEMPTS_H
#define OG_ATTEMPTS_H

#include "reader.h"

extern void og_attempts_load(void);
extern void og_attempts_write(OgXact *xact);

#endif							/* OG_ATTEMPTS_H */
