/*
 * verify.h
 *		What orders look like in their table now.
 */
#ifndef OG_VERIFY_H
#define OG_VERIFY_H

#include "owner.h"

typedef struct OgPresent
{
	bool		found;
	char	   *status;
	char	   *amount;
	char	   *customer;
	TimestampTz since;			/* 0: not known */
} OgPresent;

extern OgOwnerResult og_verify_keys(OgWatch *watch, List *keys,
									OgPresent **present);
extern char *og_verify_columns(const OgWatch *watch);
extern void og_verify_read(int row, int column, OgPresent *present);

#endif							/* OG_VERIFY_H */
