/*
 * tracker.h
 *		The worker's map of orders in a status with a deadline.
 */
#ifndef OG_TRACKER_H
#define OG_TRACKER_H

#include "lib/ilist.h"
#include "lib/pairingheap.h"

#include "watch.h"

typedef struct OgTrackedKey
{
	int32		watch;
	uint8		hash[16];
} OgTrackedKey;

typedef struct OgTracked
{
	OgTrackedKey id;			/* hash key */
	bool		backlog;		/* was there before it was watched */
	bool		overdue;		/* reported */
	bool		uncertain;		/* its row changed and was not read since */
	bool		broken;			/* reading its row was an error */
	bool		persisted;		/* stands in order_guard.tracked */
	bool		dirty;
	pairingheap_node node;
	dlist_node	dirty_node;
	char	   *key;
	const char *status;
	TimestampTz since;
	TimestampTz deadline;
	TimestampTz due;			/* when to look at the row */
	char	   *amount;			/* as last read, or NULL */
	char	   *customer;
} OgTracked;

extern void og_tracker_load(void);
extern void og_tracker_save(void);
extern uint64 og_tracker_count(void);
extern OgTracked *og_tracker_find(int watch, const uint8 *hash);
extern OgTracked *og_tracker_put(const OgWatch *watch, const uint8 *hash,
								 const char *key, const char *status,
								 TimestampTz since);
extern void og_tracker_examine(const OgWatch *watch, const uint8 *hash,
							   const char *key, bool uncertain);
extern void og_tracker_remove(OgTracked *tracked);
extern void og_tracker_schedule(OgTracked *tracked, TimestampTz due);
extern bool og_tracker_measure(const OgWatch *watch, OgTracked *tracked,
							   TimestampTz since);
extern void og_tracker_set_broken(OgTracked *tracked, bool broken);
extern void og_tracker_set_overdue(OgTracked *tracked, bool overdue);
extern void og_tracker_set_facts(OgTracked *tracked, const char *amount,
								 const char *customer);
extern List *og_tracker_due(int watch, TimestampTz now, int max);
extern List *og_tracker_all(int watch);
extern uint64 og_tracker_backlog(int watch);
extern uint64 og_tracker_broken(int watch);
extern void og_tracker_note_storm(int watch, bool stormy);
extern bool og_tracker_overflowed(void);

#endif							/* OG_TRACKER_H */
