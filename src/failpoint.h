/*
 * failpoint.h
 *		Connections that are cut on purpose, around the commit of a token.
 */
#ifndef OG_FAILPOINT_H
#define OG_FAILPOINT_H

#include "utils/guc.h"

/* order_guard.fail_point; NULL or empty: none */
extern char *og_fail_point;

extern void og_failpoint_request_shmem(void);
extern void og_failpoint_init_shmem(void);
extern void og_failpoint_init(void);
extern bool og_failpoint_check(char **value, void **extra, GucSource source);
extern void og_failpoint_note_value(Oid type, Datum value);
extern void og_failpoint_note_token(const char *token, Size length);

/* The current transaction works on an order with this token. */
#define OG_FAILPOINT_NOTE(type, value, isnull) \
	do { \
		if (unlikely(og_fail_point != NULL) && !(isnull)) \
			og_failpoint_note_value(type, value); \
	} while (0)

#endif							/* OG_FAILPOINT_H */
