/*
 * quarantine.h
 *		Transactions of the journal whose effects cannot be written.
 */
#ifndef OG_QUARANTINE_H
#define OG_QUARANTINE_H

#include "reader.h"

extern bool og_quarantine_may_help(void);
extern bool og_quarantine_try(void (*apply) (OgXact *), OgXact *xact);

#endif							/* OG_QUARANTINE_H */
