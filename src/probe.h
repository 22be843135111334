/*
 * probe.h
 *		Is there a row with a token in a table, committed or not?
 */
#ifndef OG_PROBE_H
#define OG_PROBE_H

#include "nodes/pg_list.h"
#include "utils/relcache.h"

/* A column in which tokens stand. */
typedef struct OgProbe
{
	Oid			relation;		/* the watched table */
	const char *column;			/* NULL: they stand in token_use */
	int			watch;			/* 0: order_guard.token_use, not watched */
} OgProbe;

/*
 * Transactions in progress that have given a row one of these tokens: a list
 * of their top-level ids.
 */
extern List *og_probe_open(const OgProbe *probe, char *const *forms, int n);

/*
 * Is there a row that is committed?  By a snapshot taken now; its commit then
 * is on disk, too.
 */
extern bool og_probe_committed(const OgProbe *probe, char *const *forms,
							   int n);

#endif							/* OG_PROBE_H */
