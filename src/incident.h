/*
 * incident.h
 *		Recording of incidents, by the worker only.
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
	const char *severity;		/* info, warning, critical */
	const char *amount;			/* text of a numeric, or NULL */
	const char *customer;		/* or NULL */
	int64		count;			/* orders concerned, at least 1 */
	TimestampTz since;			/* when the order's present state began */
	const char *summary;		/* one sentence for a support agent */
	const char *evidence;		/* text of a JSON object, or NULL */
	bool		may_storm;		/* may be folded into a storm */
} OgIncident;

/*
 * All but the last are called inside a transaction of the worker, SPI
 * connected, as superuser, with an active snapshot.
 */
extern void og_incident_begin_tick(void);
extern void og_incident_open(const OgIncident *incident);
extern int	og_incident_clear(int watch, const char *kind,
							  const unsigned char *hash,
							  const char *resolution);
/* folds storms, writes what og_incident_open() collected */
extern void og_incident_flush(int *opened, int *cleared);
/* outside a transaction: NOTIFY in one of its own, log lines */
extern void og_incident_announce(void);

#endif							/* OG_INCIDENT_H */
