/*
 * prepared.h
 *		Prepared transactions that somebody has finished.
 */
#ifndef OG_PREPARED_H
#define OG_PREPARED_H

extern void og_prepared_settle(void);

#endif							/* OG_PREPARED_H */
