/*
 * incident_clear.c
 *		Clears incidents, at once or as soon as their row is free.
 *
 * Runs in the worker only.  A row that a person keeps locked in an open
 * transaction must not stop the worker: the clearing goes on a list, which
 * each flush tries.  Entries carry the sub-transactions that put them on the
 * list and took them off, so that a rollback takes back either.  After a
 * crash the list is lost; the incident then stays open until its detector,
 * which starts anew too, clears it again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "incident_private.h"

typedef struct Deferred
{
	int			watch;
	char		kind[NAMEDATALEN];
	unsigned char hash[16];
	char		resolution[256];
	SubTransactionId added;		/* in this transaction; 0: before it */
	SubTransactionId removed;	/* in this transaction; 0: not */
} Deferred;

static Deferred *deferred = NULL;	/* in TopMemoryContext */
static int	ndeferred = 0;
static int	max_deferred = 0;

static Datum
hash_datum(const unsigned char *hash)
{
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	memcpy(uuid->data, hash, 16);
	return UUIDPGetDatum(uuid);
}

/*
 * Runs the statement that clears one incident.
 */
static int
clear_now(int watch, const char *kind, const unsigned char *hash,
		  const char *resolution)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {INT4OID, TEXTOID, UUIDOID, TEXTOID};
	Datum		args[] = {Int32GetDatum(watch), CStringGetTextDatum(kind),
	hash_datum(hash), CStringGetTextDatum(resolution)};
	int			cleared;

	og_incident_plan(&plan,
					 "WITH held AS (SELECT o.id FROM order_guard.incident o "
					 "WHERE o.watch = $1 AND o.kind = $2 AND o.hash = $3 "
					 "AND o.state = 'open' FOR UPDATE SKIP LOCKED) "
					 "UPDATE order_guard.incident i SET state = 'cleared', "
					 "closed_at = clock_timestamp(), resolution = $4 "
					 "FROM held WHERE i.id = held.id RETURNING "
					 OG_EVENT_COLUMNS("i"), 4, types);
	SPI_execute_plan(plan, args, NULL, false, 0);
	cleared = SPI_processed;
	for (int i = 0; i < cleared; i++)
		og_event_add("cleared", i);
	SPI_freetuptable(SPI_tuptable);
	return cleared;
}

/*
 * Is there an open incident?  After clear_now() returned 0: a busy one.
 */
static bool
is_open(int watch, const char *kind, const unsigned char *hash)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {INT4OID, TEXTOID, UUIDOID};
	Datum		args[] = {Int32GetDatum(watch), CStringGetTextDatum(kind),
	hash_datum(hash)};

	og_incident_plan(&plan,
					 "SELECT FROM order_guard.incident o WHERE o.watch = $1 "
					 "AND o.kind = $2 AND o.hash = $3 AND o.state = 'open'",
					 3, types);
	SPI_execute_plan(plan, args, NULL, false, 1);
	SPI_freetuptable(SPI_tuptable);
	return SPI_processed > 0;
}

static void
defer_clear(int watch, const char *kind, const unsigned char *hash,
			const char *resolution)
{
	Deferred   *d;

	if (ndeferred == max_deferred)
	{
		int			size = Max(16, max_deferred * 2);

		if (deferred == NULL)
			deferred = MemoryContextAlloc(TopMemoryContext,
										  size * sizeof(Deferred));
		else
			deferred = repalloc(deferred, size * sizeof(Deferred));
		max_deferred = size;
	}
	d = &deferred[ndeferred];
	memset(d, 0, sizeof(*d));
	d->watch = watch;
	strlcpy(d->kind, kind, sizeof(d->kind));
	memcpy(d->hash, hash, 16);
	memcpy(d->resolution, resolution,
		   pg_mbcliplen(resolution, strlen(resolution),
						sizeof(d->resolution) - 1));
	d->added = GetCurrentSubTransactionId();
	ndeferred++;
}

/*
 * og_incident_clear
 *		Clears the open incident, or notes that it is to be cleared.
 */
int
og_incident_clear(int watch, const char *kind, const unsigned char *hash,
				  const char *resolution)
{
	int			cleared;

	og_pending_clear(watch, kind, hash);
	cleared = clear_now(watch, kind, hash, resolution);
	if (cleared == 0 && is_open(watch, kind, hash))
		defer_clear(watch, kind, hash, resolution);
	return cleared;
}

/*
 * og_clear_retry
 *		Clears what was busy.
 */
void
og_clear_retry(void)
{
	for (int i = 0; i < ndeferred; i++)
	{
		Deferred   *d = &deferred[i];

		if (d->removed == 0 &&
			(clear_now(d->watch, d->kind, d->hash, d->resolution) > 0 ||
			 !is_open(d->watch, d->kind, d->hash)))
			d->removed = GetCurrentSubTransactionId();
	}
}

/*
 * og_clear_forget
 *		The order stopped again: what was to be cleared is true once more.
 */
void
og_clear_forget(const OgIncident *incident)
{
	for (int i = 0; i < ndeferred; i++)
	{
		Deferred   *d = &deferred[i];

		if (d->watch == incident->watch &&
			memcmp(d->hash, incident->hash, 16) == 0 &&
			strcmp(d->kind, incident->kind) == 0)
			d->removed = GetCurrentSubTransactionId();
	}
}

/*
 * og_clear_end
 *		The transaction ends.  Allocates nothing and cannot fail.
 */
void
og_clear_end(bool commit)
{
	int			kept = 0;

	for (int i = 0; i < ndeferred; i++)
	{
		if (commit ? deferred[i].removed != 0 : deferred[i].added != 0)
			continue;
		deferred[kept] = deferred[i];
		deferred[kept].added = deferred[kept].removed = 0;
		kept++;
	}
	ndeferred = kept;
}

/*
 * og_clear_subabort
 *		A sub-transaction was rolled back.  Cannot fail.
 */
void
og_clear_subabort(SubTransactionId subxact)
{
	while (ndeferred > 0 && deferred[ndeferred - 1].added >= subxact)
		ndeferred--;
	for (int i = 0; i < ndeferred; i++)
		if (deferred[i].removed >= subxact)
			deferred[i].removed = 0;
}
