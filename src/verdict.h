/*
 * verdict.h
 *		What became of a transaction whose outcome is not in the journal.
 */
#ifndef OG_VERDICT_H
#define OG_VERDICT_H

#include "reader.h"

extern OgOutcome og_verdict(const OgXact *xact);

#endif							/* OG_VERDICT_H */
