/*
 * reason.h
 *		Why something was rolled back, in words.
 */
#ifndef OG_REASON_H
#define OG_REASON_H

#include "journal.h"

extern const char *og_reason_cause(uint8 cause);
extern char *og_reason_text(const OgError *error);
extern char *og_reason_silent(uint8 cause);
extern const char *og_reason_unheard(uint8 cause);

/* an error that was caught: its text for all who see the table, no SQLSTATE */
extern char *og_reason_error(const ErrorData *error);

#endif							/* OG_REASON_H */
