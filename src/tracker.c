/*
 * tracker.c
 *		The worker's map of orders that are in a status with a deadline.
 *
 * Runs in the worker only.  In memory: a hash table by watch and key, and for
 * each watch a heap by the time at which a row is to be looked at.  What
 * outlives a tick stands in order_guard.tracked: og_tracker_save() writes
 * what has changed, in the transaction that also moves the position in the
 * journal.  If that transaction fails, the caller loads everything anew.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "query.h"
#include "settings.h"
#include "tracker.h"

/* Orders of one watch. */
typedef struct Queue
{
	int32		watch;
	uint64		backlog;		/* overdue ones that were there before */
	uint64		broken;			/* ones whose row cannot be read */
	bool		stormy;			/* a storm of stalled ones is open */
	pairingheap *heap;
} Queue;

typedef struct Interned
{
	char		text[NAMEDATALEN * 4];
} Interned;

static MemoryContext tracker_memory = NULL;
static HTAB *orders = NULL;
static HTAB *queues = NULL;
static HTAB *statuses = NULL;
static dlist_head dirty_orders;
static List *gone = NIL;		/* of OgTrackedKey: to be deleted */
static bool overflowed = false;

static int
compare_due(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const OgTracked *left = pairingheap_const_container(OgTracked, node, a);
	const OgTracked *right = pairingheap_const_container(OgTracked, node, b);

	return left->due < right->due ? 1 : left->due > right->due ? -1 : 0;
}

static HTAB *
make_table(const char *name, Size key, Size entry, int flags)
{
	HASHCTL		control = {0};

	control.keysize = key;
	control.entrysize = entry;
	control.hcxt = tracker_memory;
	return hash_create(name, 1024, &control, HASH_ELEM | HASH_CONTEXT | flags);
}

static void
forget_all(void)
{
	if (tracker_memory == NULL)
		tracker_memory = AllocSetContextCreate(TopMemoryContext,
											   "order_guard tracker",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(tracker_memory);
	orders = make_table("order_guard orders", sizeof(OgTrackedKey),
						sizeof(OgTracked), HASH_BLOBS);
	queues = make_table("order_guard queues", sizeof(int32), sizeof(Queue),
						HASH_BLOBS);
	statuses = make_table("order_guard statuses", sizeof(Interned),
						  sizeof(Interned), HASH_STRINGS);
	dlist_init(&dirty_orders);
	gone = NIL;
	overflowed = false;
}

static Queue *
find_queue(int watch)
{
	bool		found;
	int32		key = watch;
	Queue	   *queue = hash_search(queues, &key, HASH_ENTER, &found);

	if (!found)
	{
		MemoryContext old = MemoryContextSwitchTo(tracker_memory);

		queue->backlog = queue->broken = 0;
		queue->stormy = false;
		queue->heap = pairingheap_allocate(compare_due, NULL);
		MemoryContextSwitchTo(old);
	}
	return queue;
}

static const char *
intern(const char *status)
{
	Interned   *entry;
	char		text[sizeof(Interned)];

	strlcpy(text, status, sizeof(text));
	entry = hash_search(statuses, text, HASH_ENTER, NULL);
	return entry->text;
}

static void
mark_dirty(OgTracked *tracked)
{
	if (!tracked->dirty)
		dlist_push_tail(&dirty_orders, &tracked->dirty_node);
	tracked->dirty = true;
}

/* False if it was that already. */
static bool
set_string(char **place, const char *text)
{
	if (*place == NULL ? text == NULL : text && strcmp(*place, text) == 0)
		return false;
	if (*place)
		pfree(*place);
	*place = text ? MemoryContextStrdup(tracker_memory, text) : NULL;
	return true;
}

uint64
og_tracker_count(void)
{
	return orders ? hash_get_num_entries(orders) : 0;
}

/* Has an order been left out because there were max_tracked already? */
bool
og_tracker_overflowed(void)
{
	return overflowed;
}

OgTracked *
og_tracker_find(int watch, const uint8 *hash)
{
	OgTrackedKey id = {watch};

	memcpy(id.hash, hash, sizeof(id.hash));
	return hash_search(orders, &id, HASH_FIND, NULL);
}

/* Finds or makes an entry; a new one is in its heap, due never. */
static OgTracked *
enter(int watch, const uint8 *hash, const char *key)
{
	OgTrackedKey id = {watch};
	bool		full = hash_get_num_entries(orders) >= og_max_tracked;
	bool		found;
	OgTracked  *tracked;

	memcpy(id.hash, hash, sizeof(id.hash));
	tracked = hash_search(orders, &id, full ? HASH_FIND : HASH_ENTER, &found);
	overflowed |= tracked == NULL;
	if (tracked == NULL || found)
		return tracked;
	memset((char *) tracked + sizeof(OgTrackedKey), 0,
		   sizeof(OgTracked) - sizeof(OgTrackedKey));
	tracked->due = DT_NOEND;
	tracked->key = MemoryContextStrdup(tracker_memory, key);
	pairingheap_add(find_queue(watch)->heap, &tracked->node);
	return tracked;
}

/*
 * og_tracker_put
 *		An order is in a status with a deadline since a time.  If it was in
 *		that status already, it stays what it was.  NULL if there is no room.
 */
OgTracked *
og_tracker_put(const OgWatch *watch, const uint8 *hash, const char *key,
			   const char *status, TimestampTz since)
{
	const OgDeadline *deadline = og_watch_deadline(watch, status);
	OgTracked  *tracked;

	if (deadline == NULL)
		return og_tracker_find(watch->id, hash);
	tracked = enter(watch->id, hash, key);
	if (tracked == NULL ||
		(tracked->status && strcmp(tracked->status, status) == 0 &&
		 tracked->since <= since))
		return tracked;
	if (tracked->overdue && tracked->backlog)
		find_queue(watch->id)->backlog--;
	tracked->backlog = tracked->overdue = tracked->uncertain = false;
	tracked->status = intern(status);
	tracked->since = since;
	tracked->deadline = since + deadline->allowed;
	mark_dirty(tracked);
	og_tracker_schedule(tracked, tracked->deadline);
	return tracked;
}

/*
 * og_tracker_examine
 *		Has the row of an order looked at in this tick, whatever is known of
 *		it.  An order not yet tracked is entered with an empty status; one that
 *		is may have left its status meanwhile, if uncertain.
 */
void
og_tracker_examine(const OgWatch *watch, const uint8 *hash, const char *key,
				   bool uncertain)
{
	OgTracked  *tracked = enter(watch->id, hash, key);

	if (tracked == NULL)
		return;
	if (tracked->status == NULL)
	{
		tracked->status = intern("");
		tracked->since = GetCurrentTimestamp();
		tracked->deadline = DT_NOEND;
		mark_dirty(tracked);
	}
	tracked->uncertain |= uncertain;
	og_tracker_schedule(tracked, 0);
}

void
og_tracker_remove(OgTracked *tracked)
{
	Queue	   *queue = find_queue(tracked->id.watch);

	if (tracked->overdue && tracked->backlog)
		queue->backlog--;
	og_tracker_set_broken(tracked, false);
	if (tracked->persisted)
	{
		MemoryContext old = MemoryContextSwitchTo(tracker_memory);
		OgTrackedKey *id = palloc(sizeof(OgTrackedKey));

		*id = tracked->id;
		gone = lappend(gone, id);
		MemoryContextSwitchTo(old);
	}
	if (tracked->dirty)
		dlist_delete(&tracked->dirty_node);
	pairingheap_remove(queue->heap, &tracked->node);
	set_string(&tracked->key, NULL);
	set_string(&tracked->amount, NULL);
	set_string(&tracked->customer, NULL);
	hash_search(orders, &tracked->id, HASH_REMOVE, NULL);
}

/* When the row is to be looked at next. */
void
og_tracker_schedule(OgTracked *tracked, TimestampTz due)
{
	Queue	   *queue = find_queue(tracked->id.watch);

	pairingheap_remove(queue->heap, &tracked->node);
	tracked->due = due;
	pairingheap_add(queue->heap, &tracked->node);
}

/*
 * og_tracker_measure
 *		By the deadline that holds now for its status, since when the table
 *		itself says (0: it does not).  False if the status has none any more.
 */
bool
og_tracker_measure(const OgWatch *watch, OgTracked *tracked,
				   TimestampTz since)
{
	const OgDeadline *deadline = og_watch_deadline(watch, tracked->status);

	if (deadline == NULL)
		return false;
	if (since == 0)
		since = tracked->since;
	if (tracked->since == since &&
		tracked->deadline == since + deadline->allowed)
		return true;
	tracked->since = since;
	tracked->deadline = since + deadline->allowed;
	mark_dirty(tracked);
	return true;
}

void
og_tracker_set_broken(OgTracked *tracked, bool broken)
{
	if (tracked->broken != broken)
		find_queue(tracked->id.watch)->broken += broken ? 1 : -1;
	tracked->broken = broken;
}

/* An order is past its deadline, or has time again. */
void
og_tracker_set_overdue(OgTracked *tracked, bool overdue)
{
	if (tracked->backlog && tracked->overdue != overdue)
		find_queue(tracked->id.watch)->backlog += overdue ? 1 : -1;
	tracked->overdue = overdue;
}

void
og_tracker_set_facts(OgTracked *tracked, const char *amount,
					 const char *customer)
{
	if (set_string(&tracked->amount, amount) |
		set_string(&tracked->customer, customer))
		mark_dirty(tracked);
}

/* At most "max" orders of a watch that are due; they stay in the heap. */
List *
og_tracker_due(int watch, TimestampTz now, int max)
{
	Queue	   *queue = find_queue(watch);
	List	   *due = NIL;
	ListCell   *cell;

	while (list_length(due) < max && !pairingheap_is_empty(queue->heap))
	{
		OgTracked  *first = pairingheap_container(OgTracked, node,
												  pairingheap_first(queue->heap));

		if (first->due > now)
			break;
		due = lappend(due, first);
		pairingheap_remove_first(queue->heap);
	}
	foreach(cell, due)
		pairingheap_add(queue->heap, &((OgTracked *) lfirst(cell))->node);
	return due;
}

/* All orders of a watch. */
List *
og_tracker_all(int watch)
{
	List	   *all = NIL;
	HASH_SEQ_STATUS scan;
	OgTracked  *tracked;

	hash_seq_init(&scan, orders);
	while ((tracked = hash_seq_search(&scan)) != NULL)
		if (tracked->id.watch == watch)
			all = lappend(all, tracked);
	return all;
}

/* How many overdue orders of a watch were there before it was watched? */
uint64
og_tracker_backlog(int watch)
{
	return find_queue(watch)->backlog;
}

/*
 * og_tracker_note_storm
 *		Is there a storm?  When it is over, what it left is looked at.
 */
void
og_tracker_note_storm(int watch, bool stormy)
{
	Queue	   *queue = find_queue(watch);
	ListCell   *cell;

	if (queue->stormy && !stormy)
	{
		foreach(cell, og_tracker_all(watch))
		{
			OgTracked  *tracked = lfirst(cell);

			if (tracked->overdue && !tracked->backlog)
				og_tracker_schedule(tracked, 0);
		}
	}
	queue->stormy = stormy;
}

/* How many orders of a watch have rows that cannot be read? */
uint64
og_tracker_broken(int watch)
{
	return find_queue(watch)->broken;
}

static Datum
uuid_datum(const uint8 *hash)
{
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	memcpy(uuid->data, hash, UUID_LEN);
	return UUIDPGetDatum(uuid);
}

static void
delete_gone(void)
{
	static OgPlan plan = {
		"DELETE FROM order_guard.tracked t "
		"USING unnest($1, $2) AS g (watch, hash) "
		"WHERE t.watch = g.watch AND t.hash = g.hash", NULL
	};
	Oid			types[] = {INT4ARRAYOID, UUIDARRAYOID};
	Datum		arrays[2];
	int			n = list_length(gone);
	Datum	   *watch = palloc(n * sizeof(Datum));
	Datum	   *hash = palloc(n * sizeof(Datum));

	for (int i = 0; i < n; i++)
	{
		OgTrackedKey *id = list_nth(gone, i);

		watch[i] = Int32GetDatum(id->watch);
		hash[i] = uuid_datum(id->hash);
	}
	arrays[0] = og_query_array(watch, NULL, n, INT4OID);
	arrays[1] = og_query_array(hash, NULL, n, UUIDOID);
	og_query_run(&plan, 2, types, arrays, NULL);
	list_free_deep(gone);
	gone = NIL;
}

#define SAVED_COLUMNS 9

static const Oid saved_type[SAVED_COLUMNS] = {
	INT4OID, UUIDOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	BOOLOID, TEXTOID, TEXTOID
};

static Datum
column_value(const OgTracked *tracked, int column, bool *isnull)
{
	*isnull = (column == 7 && !tracked->amount) ||
		(column == 8 && !tracked->customer);
	if (*isnull)
		return (Datum) 0;
	switch (column)
	{
		case 0:
			return Int32GetDatum(tracked->id.watch);
		case 1:
			return uuid_datum(tracked->id.hash);
		case 2:
			return CStringGetTextDatum(tracked->key);
		case 3:
			return CStringGetTextDatum(tracked->status);
		case 4:
			return TimestampTzGetDatum(tracked->since);
		case 5:
			return TimestampTzGetDatum(tracked->deadline);
		case 6:
			return BoolGetDatum(tracked->backlog);
		case 7:
			return CStringGetTextDatum(tracked->amount);
		default:
			return CStringGetTextDatum(tracked->customer);
	}
}

#define INSERT_TRACKED \
	"INSERT INTO order_guard.tracked AS t (watch, hash, key, status, " \
	"since, deadline, backlog, amount, customer) " \
	"SELECT w, h, k, s, i, d, b, a::numeric, c " \
	"FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) " \
	"AS u (w, h, k, s, i, d, b, a, c) "

/* Orders that do not stand in the table yet. */
static OgPlan insert_plan = {INSERT_TRACKED, NULL};

/* Orders that do, or may. */
static OgPlan upsert_plan = {
	INSERT_TRACKED
	"ON CONFLICT (watch, hash) DO UPDATE SET status = excluded.status, "
	"since = excluded.since, deadline = excluded.deadline, "
	"backlog = excluded.backlog, amount = excluded.amount, "
	"customer = excluded.customer", NULL
};

static int
compare_ids(const ListCell *a, const ListCell *b)
{
	const OgTracked *left = lfirst(a);
	const OgTracked *right = lfirst(b);

	return memcmp(left->id.hash, right->id.hash, sizeof(left->id.hash));
}

/* In the order of the index, whose pages are then found in the cache. */
static void
write_orders(List *tracked, OgPlan *plan)
{
	Oid			types[] = {
		INT4ARRAYOID, UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
		TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, BOOLARRAYOID, TEXTARRAYOID,
		TEXTARRAYOID
	};
	Datum		arrays[SAVED_COLUMNS];
	int			n = list_length(tracked);
	Datum	   *values = palloc0(n * sizeof(Datum));
	bool	   *nulls = palloc0(n * sizeof(bool));

	if (tracked == NIL)
		return;
	list_sort(tracked, compare_ids);
	for (int column = 0; column < SAVED_COLUMNS; column++)
	{
		for (int i = 0; i < n; i++)
			values[i] = column_value(list_nth(tracked, i), column, &nulls[i]);
		arrays[column] = og_query_array(values, nulls, n, saved_type[column]);
	}
	og_query_run(plan, SAVED_COLUMNS, types, arrays, NULL);
}

/*
 * og_tracker_save
 *		Writes what has changed since the last time.  SPI is connected.
 */
void
og_tracker_save(void)
{
	List	   *fresh = NIL;
	List	   *changed = NIL;

	if (gone != NIL)
		delete_gone();
	while (!dlist_is_empty(&dirty_orders))
	{
		OgTracked  *tracked = dlist_container(OgTracked, dirty_node,
											  dlist_pop_head_node(&dirty_orders));

		/* Without room for all, the table holds some that memory does not. */
		if (tracked->persisted || overflowed)
			changed = lappend(changed, tracked);
		else
			fresh = lappend(fresh, tracked);
		tracked->dirty = false;
		tracked->persisted = true;
	}
	write_orders(fresh, &insert_plan);
	write_orders(changed, &upsert_plan);
	list_free(fresh);
	list_free(changed);
}

static void
load_row(int row)
{
	char	   *key = og_query_text(row, 2);
	pg_uuid_t  *uuid = DatumGetUUIDP(og_query_datum(row, 1));
	OgTracked  *tracked = enter(DatumGetInt32(og_query_datum(row, 0)),
								uuid->data, key);

	if (tracked == NULL)
		return;
	tracked->status = intern(og_query_text(row, 3));
	tracked->since = DatumGetTimestampTz(og_query_datum(row, 4));
	tracked->deadline = DatumGetTimestampTz(og_query_datum(row, 5));
	tracked->backlog = DatumGetBool(og_query_datum(row, 6));
	set_string(&tracked->amount, og_query_text(row, 7));
	set_string(&tracked->customer, og_query_text(row, 8));
	tracked->persisted = true;
	og_tracker_schedule(tracked, tracked->status[0] == '\0' ?
						0 : tracked->deadline);
}

/*
 * og_tracker_load
 *		Fills the tracker from its persisted image.  SPI is connected.
 */
void
og_tracker_load(void)
{
	static OgPlan plan = {
		"SELECT watch, hash, key, status, since, deadline, backlog, amount, "
		"customer FROM order_guard.tracked", NULL
	};

	forget_all();
	og_query_run(&plan, 0, NULL, NULL, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
		load_row(row);
}
