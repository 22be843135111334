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
	bool		poisoned;		/* reading it is an error */
	char	   *status;
	TimestampTz since;			/* 0: not known */
	char	   *amount;
	char	   *customer;
	char	   *message;		/* of an error, or NULL */
} OgPresent;

extern OgOwnerResult og_verify_keys(OgWatch *watch, List *keys,
									OgPresent **present);
extern char *og_verify_columns(const OgWatch *watch, bool all);
extern void og_verify_read(int row, int column, OgPresent *present);

#endif							/* OG_VERIFY_H */
