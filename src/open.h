/*
 * open.h
 *		Which incidents are open, so that the worker need not ask for each row.
 */
#ifndef OG_OPEN_H
#define OG_OPEN_H

extern void og_open_load(bool all);
extern bool og_open_any(void);
extern bool og_open_has_kind(const char *kind);
extern bool og_open_has(int watch, const char *kind,
						const unsigned char *hash);
extern void og_open_clear(int watch, const char *kind,
						  const unsigned char *hash, const char *resolution);
extern void og_open_clear_watch(int watch, const char *except,
								const char *resolution);
extern void og_open_clear_unwatched(void);
extern void og_open_clear_others(const char *kind, unsigned char (*hash)[16],
								 int n, const char *resolution);

#endif							/* OG_OPEN_H */
