/*
 * incident_private.h
 *		What incident.c, storm.c and announce.c share.
 */
#ifndef OG_INCIDENT_PRIVATE_H
#define OG_INCIDENT_PRIVATE_H

#include "executor/spi.h"

#include "incident.h"

typedef enum OgPendingState
{
	OG_PENDING_FRESH = 0,		/* to be opened, or not looked at yet */
	OG_PENDING_KNOWN,			/* is open already */
	OG_PENDING_SUPPRESSED,		/* a person closed it */
	OG_PENDING_FOLDED,			/* belongs to a storm */
	OG_PENDING_DROPPED			/* reported again later, or cleared */
} OgPendingState;

typedef struct OgPending
{
	OgIncident	incident;		/* a deep copy */
	uint32		seq;			/* order of report */
	SubTransactionId subxact;
	bool		clear;			/* a later og_incident_clear() */
	bool		slim;			/* past the limit: text left out */
	OgPendingState state;
} OgPending;

/* incident.c */
extern SPIPlanPtr og_incident_plan(SPIPlanPtr *plan, const char *sql,
								   int nargs, const Oid *types);
extern void og_incident_sanitise(char *text);
extern char *og_incident_column(int row, int column);
extern void og_pending_clear(int watch, const char *kind,
							 const unsigned char *hash);

/* incident_clear.c */
extern void og_clear_retry(void);
extern void og_clear_forget(const OgIncident *incident);
extern void og_clear_end(bool commit);
extern void og_clear_subabort(SubTransactionId subxact);

/* storm.c; pending is sorted by watch, kind and order of report */
extern void og_storm_fold(OgPending **pending, int n);
extern void og_storm_write(void);
extern void og_storm_end(bool commit);
extern void og_storm_subabort(SubTransactionId subxact);

/* announce.c */
extern void og_event_add(const char *event, int row);
extern void og_event_count(int *opened, int *cleared);
extern void og_event_end(bool commit);
extern void og_event_subabort(SubTransactionId subxact);

/*
 * Whoever listens, or reads the log, has no rights that could be asked.  Where
 * the watch says so, they are told the hash in place of the key.
 */
#define OG_EVENT_MASKED(alias) \
	"EXISTS (SELECT FROM order_guard.watch w WHERE w.id = " alias ".watch " \
	"AND w.options -> 'mask_key' = 'true')"
#define OG_EVENT_KEY(alias) \
	"CASE WHEN " alias ".key IS NOT NULL AND " OG_EVENT_MASKED(alias) \
	" THEN " alias ".hash::text ELSE " alias ".key END"

/* What og_event_add() reads from the current result of SPI, in this order. */
#define OG_EVENT_COLUMNS(alias) \
	alias ".id, " alias ".kind, " alias ".severity, " \
	alias ".relation_name, " OG_EVENT_KEY(alias) ", " \
	"CASE WHEN " OG_EVENT_MASKED(alias) " THEN concat_ws(' ', " \
	"'about', CASE WHEN " alias ".key IS NULL THEN 'orders' ELSE 'order ' " \
	"|| " alias ".hash END, 'of', nullif(" alias ".relation_name, '')) " \
	"ELSE " alias ".summary END"

#endif							/* OG_INCIDENT_PRIVATE_H */
