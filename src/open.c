/*
 * open.c
 *		Which incidents are open.  Runs in the worker; loaded at the start of
 *		each tick, and again when some have been opened.
 *
 * Loaded are those that were opened or closed lately; all of them at times so
 * that it takes a small part of the worker's time, however many there are.
 * Between them one that somebody closed in a long transaction may still pass
 * for open: clearing it then does nothing.  One that somebody opened in a long
 * one is not known yet.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "incident.h"
#include "open.h"
#include "query.h"
#include "watch.h"

#define LATELY		60			/* s: longer than a transaction of the worker */
#define LOAD_SHARE	50			/* one part in so many of the time */

typedef struct OpenKey
{
	int32		watch;
	char		kind[28];
	unsigned char hash[16];
} OpenKey;

/* How many of a kind a watch has: what walks over all is mostly for none. */
typedef struct OpenGroup
{
	int32		watch;
	char		kind[28];
	long		n;
} OpenGroup;

static MemoryContext open_memory = NULL;
static HTAB *open_incidents = NULL;
static HTAB *open_groups = NULL;

static void
make_key(OpenKey *key, int watch, const char *kind, const unsigned char *hash)
{
	memset(key, 0, sizeof(*key));
	key->watch = watch;
	strlcpy(key->kind, kind, sizeof(key->kind));
	memcpy(key->hash, hash, sizeof(key->hash));
}

/* The group is a key without its hash. */
static void
take(const OpenKey *key, HASHACTION action)
{
	OpenGroup  *group;
	bool		found;

	hash_search(open_incidents, key, action, &found);
	if (found == (action == HASH_ENTER))
		return;
	group = hash_search(open_groups, key, HASH_ENTER, &found);
	if (!found)
		group->n = 0;
	group->n += action == HASH_ENTER ? 1 : -1;
}

static void
take_rows(HASHACTION action)
{
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		OpenKey		key;

		make_key(&key, DatumGetInt32(og_query_datum(row, 0)),
				 og_query_text(row, 1),
				 DatumGetUUIDP(og_query_datum(row, 2))->data);
		take(&key, action);
	}
}

static HTAB *
make_table(const char *name, Size keysize, Size entrysize)
{
	HASHCTL		control = {0};

	control.keysize = keysize;
	control.entrysize = entrysize;
	control.hcxt = open_memory;
	return hash_create(name, 128, &control,
					   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
load_all(void)
{
	static OgPlan plan = {
		"SELECT watch, kind, hash FROM order_guard.incident "
		"WHERE state = 'open'", NULL
	};

	if (open_memory == NULL)
		open_memory = AllocSetContextCreate(TopMemoryContext,
											"order_guard open incidents",
											ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(open_memory);
	open_incidents = make_table("order_guard open incidents",
								sizeof(OpenKey), sizeof(OpenKey));
	open_groups = make_table("order_guard open groups",
							 offsetof(OpenGroup, n), sizeof(OpenGroup));
	og_query_run(&plan, 0, NULL, NULL, NULL);
	take_rows(HASH_ENTER);
}

/* One that was closed may have been opened again. */
static void
load_since(TimestampTz since)
{
	static OgPlan closed = {
		"SELECT watch, kind, hash FROM order_guard.incident "
		"WHERE state <> 'open' AND closed_at >= $1", NULL
	};
	static OgPlan opened = {
		"SELECT watch, kind, hash FROM order_guard.incident "
		"WHERE state = 'open' AND opened_at >= $1", NULL
	};
	Oid			types[] = {TIMESTAMPTZOID};
	Datum		values[] = {
		TimestampTzGetDatum(since - LATELY * USECS_PER_SEC)
	};

	og_query_run(&closed, 1, types, values, NULL);
	take_rows(HASH_REMOVE);
	og_query_run(&opened, 1, types, values, NULL);
	take_rows(HASH_ENTER);
}

/*
 * og_open_load
 *		"all" after an error, which may have interrupted this.  SPI is
 *		connected.
 */
void
og_open_load(bool all)
{
	static TimestampTz last = 0;
	static TimestampTz next_all = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (all || now >= next_all)
	{
		load_all();
		next_all = now + LOAD_SHARE * (GetCurrentTimestamp() - now);
	}
	else
		load_since(last);
	last = now;
}

bool
og_open_any(void)
{
	return hash_get_num_entries(open_incidents) > 0;
}

bool
og_open_has(int watch, const char *kind, const unsigned char *hash)
{
	OpenKey		key;

	if (!og_open_any())
		return false;
	make_key(&key, watch, kind, hash);
	return hash_search(open_incidents, &key, HASH_FIND, NULL) != NULL;
}

/* Is any incident of this kind open? */
bool
og_open_has_kind(const char *kind)
{
	HASH_SEQ_STATUS scan;
	OpenGroup  *group;

	hash_seq_init(&scan, open_groups);
	while ((group = hash_seq_search(&scan)) != NULL)
	{
		if (group->n == 0 || strcmp(group->kind, kind) != 0)
			continue;
		hash_seq_term(&scan);
		return true;
	}
	return false;
}

/* Clears an incident, if it is open. */
void
og_open_clear(int watch, const char *kind, const unsigned char *hash,
			  const char *resolution)
{
	if (og_open_has(watch, kind, hash))
		og_incident_clear(watch, kind, hash, resolution);
}

static bool
is_among(const unsigned char *hash, unsigned char (*among)[16], int n)
{
	for (int i = 0; i < n; i++)
		if (memcmp(hash, among[i], 16) == 0)
			return true;
	return false;
}

/* Clears the open incidents of a kind whose hashes are not among these. */
void
og_open_clear_others(const char *kind, unsigned char (*hash)[16], int n,
					 const char *resolution)
{
	HASH_SEQ_STATUS scan;
	OpenKey    *key;

	if (!og_open_has_kind(kind))
		return;
	hash_seq_init(&scan, open_incidents);
	while ((key = hash_seq_search(&scan)) != NULL)
		if (strcmp(key->kind, kind) == 0 && !is_among(key->hash, hash, n))
			og_incident_clear(key->watch, kind, key->hash, resolution);
}

static void
clear_group(const OpenGroup *group, const char *resolution)
{
	HASH_SEQ_STATUS scan;
	OpenKey    *key;

	if (group->n == 0)
		return;
	hash_seq_init(&scan, open_incidents);
	while ((key = hash_seq_search(&scan)) != NULL)
		if (key->watch == group->watch && strcmp(key->kind, group->kind) == 0)
			og_incident_clear(key->watch, key->kind, key->hash, resolution);
}

/* Clears the open incidents of a watch, but for those of one kind. */
void
og_open_clear_watch(int watch, const char *except, const char *resolution)
{
	HASH_SEQ_STATUS scan;
	OpenGroup  *group;

	hash_seq_init(&scan, open_groups);
	while ((group = hash_seq_search(&scan)) != NULL)
		if (group->watch == watch &&
			(except == NULL || strcmp(group->kind, except) != 0))
			clear_group(group, resolution);
}

/* Clears the open incidents of watches that are no more. */
void
og_open_clear_unwatched(void)
{
	HASH_SEQ_STATUS scan;
	OpenGroup  *group;

	hash_seq_init(&scan, open_groups);
	while ((group = hash_seq_search(&scan)) != NULL)
		if (group->watch != 0 && og_watch_find(group->watch) == NULL &&
			strcmp(group->kind, "reported") != 0)
			clear_group(group, "the table is no longer watched");
}
