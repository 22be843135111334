/*
 * tombstone.h
 *		Settled tokens: the table order_guard.settled, and what shared memory
 *		knows of it.
 */
#ifndef OG_TOMBSTONE_H
#define OG_TOMBSTONE_H

/* Longer tokens can be used, but not settled. */
#define OG_TOKEN_MAX	256

/* start of the server */
extern void og_tombstone_request_shmem(void);
extern void og_tombstone_init_shmem(void);
extern bool og_tombstone_ready(void);

extern uint64 og_tombstone_hash(const char *token, int length);

/* writer: any backend */
extern void og_tombstone_announce(uint64 hash);
extern void og_tombstone_retire(void);
extern bool og_tombstone_covers(uint64 hash, const char *token);
extern bool og_tombstone_recorded(const char *token);

/* settler: the worker */
extern void og_tombstone_load(void);
extern bool og_tombstone_publish(uint64 hash);
extern void og_tombstone_withdraw(void);
extern uint64 *og_tombstone_watch_writers(const uint64 *hash, int n);
extern bool og_tombstone_writers_done(uint64 *seen);

#endif							/* OG_TOMBSTONE_H */
