/*
 * incident.h
 *		Recording of incidents, by the worker only.
 *
 * In a transaction of the worker, READ COMMITTED, with search_path pinned to
 * pg_catalog, pg_temp:
 *
 *		og_incident_begin_tick()	forgets what was collected and not flushed
 *		og_incident_open(), og_incident_clear()		in any order
 *		og_incident_flush()			once, last
 *
 * and after each commit, outside a transaction, og_incident_announce().
 *
 * An incident that is already open is refreshed by reporting it again; one
 * that is not reported again stays open until it is cleared.  The last call
 * for one watch, kind and hash counts.
 */
#ifndef OG_INCIDENT_H
#define OG_INCIDENT_H

#include "datatype/timestamp.h"

typedef struct OgIncident
{
	const char *kind;
	int			watch;			/* 0: none */
	Oid			relation;		/* InvalidOid: none */
	const char *key;			/* NULL for groups and transactions */
	unsigned char hash[16];		/* identity within watch and kind */
	const char *status;			/* or NULL */
	const char *severity;		/* info, warning, critical; NULL: warning */
	const char *amount;			/* text of a numeric, or NULL */
	const char *customer;		/* or NULL */
	int64		count;			/* orders concerned, at least 1 */
	TimestampTz since;			/* when the order's present state began */
	const char *summary;		/* one sentence for a support agent */
	const char *evidence;		/* text of a JSON object, or NULL */
	bool		may_storm;		/* may be folded into a storm */
} OgIncident;

/*
 * All but the last two are called inside a transaction of the worker, SPI
 * connected, as superuser, with an active snapshot.
 */
extern void og_incident_begin_tick(void);

/* copies all it is given; nothing is written before the flush */
extern void og_incident_open(const OgIncident *incident);

/*
 * Clears the open incident, if there is one: 1, else 0.  One whose row a
 * person holds locked is cleared by a later flush.
 */
extern int	og_incident_clear(int watch, const char *kind,
							  const unsigned char *hash,
							  const char *resolution);

/* the hash under which the storm of a kind is recorded, for clearing it */
extern void og_incident_storm_hash(const char *kind, unsigned char *hash);

/*
 * Folds storms, writes what og_incident_open() collected, clears what was
 * busy and storms that ebbed.  Sets the numbers of incidents opened and
 * cleared since the last flush, those of og_incident_clear() included.
 */
extern void og_incident_flush(int *opened, int *cleared);

/* outside a transaction: NOTIFY in one of its own, log lines */
extern void og_incident_announce(void);

/* any backend, in its transaction: NOTIFY when that commits */
extern void og_incident_notify(const char *event, int64 incident,
							   const char *kind, const char *relation,
							   const char *key);

#endif							/* OG_INCIDENT_H */
