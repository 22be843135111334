/*
 * key.h
 *		From a key's text back to its row.
 */
#ifndef OG_KEY_H
#define OG_KEY_H

#include "nodes/pg_list.h"

/* What order_guard.watch says about a relation; the strings are palloc'd. */
typedef struct OgWatched
{
	int			watch;
	Oid			relation;
	List	   *keys;			/* names of columns */
	char	   *status;			/* column, or (expression) */
	List	   *status_columns;
	bool		plain;			/* status is a column */
} OgWatched;

/*
 * Both read order_guard.watch as the extension's owner, SPI connected: the
 * caller decides who may know.  NULL: no such watch.
 */
extern OgWatched *og_key_watched(int watch);
extern OgWatched *og_key_watched_relation(Oid relation);

/* "id OPERATOR(pg_catalog.=) '42'::bigint"; an index can be used */
extern char *og_key_condition(const OgWatched *watched, const char *key);

/* schema-qualified and quoted */
extern char *og_key_relation_name(Oid relation);

#endif							/* OG_KEY_H */
