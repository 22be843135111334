/*
 * tombstone.c
 *		Settled tokens, and the fence between those who commit and the worker
 *		that settles.
 *
 * A tombstone is a row of order_guard.settled; that table alone is the truth,
 * and it survives whatever the database survives.  Shared memory only saves
 * looking into it, and closes the gap while a tombstone is being made:
 *
 *		pending		hashes of tokens that are being settled now; worker
 *		filter		a set of hashes that holds at least all tombstones of the
 *					databases that are marked as loaded; bits are only ever set
 *		committing	one word per backend, by its owner: 0, or that it is
 *					committing tokens, which ones roughly, and a number
 *
 * A writer stores its word, passes a full barrier, and looks whether its
 * tokens are pending, then whether they are in the filter, then in the table,
 * with a snapshot taken after that.  A settler stores a token among the
 * pending ones, passes a full barrier, and waits until each word that may
 * mean this token has changed.  So of two that meet at least one sees the
 * other.  A token leaves pending only after its row has committed and its bits
 * are set, so a writer that comes too late for pending is in time for those.
 *
 * As long as a database is not marked (after a start, a crash, a promotion;
 * without a worker) its table is looked at for each commit: slower, never
 * wrong.  Rows that others write (a restore) set their bits by a trigger,
 * before they commit.
 *
 * Locks: the array of databases has an LWLock, taken by workers as they come
 * and go; all else is atomic.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "tombstone.h"

#define TRANCHE			"order_guard tombstones"
#define PENDING			128
#define DATABASES		128
#define BLOCK_WORDS		8		/* a cache line */
#define BLOCK_BITS		15
#define FILTER_WORDS	(BLOCK_WORDS << BLOCK_BITS) /* 2 MB */
#define ROW_TOKEN		1		/* attribute of order_guard.settled */

/* A cache line, so that backends that commit do not disturb each other. */
typedef union Writer
{
	pg_atomic_uint64 word;		/* which tokens << 32 | number; 0: none */
	char		padding[PG_CACHE_LINE_SIZE];
} Writer;

typedef struct Tombstones
{
	LWLock	   *lock;
	pg_atomic_uint32 any;		/* bits have been set in the filter */
	pg_atomic_uint32 npending;	/* entries that are in use */
	pg_atomic_uint32 loaded[DATABASES]; /* Oid: all its rows have their bits */
	pg_atomic_uint64 pending[PENDING];	/* 0: free */
	int			writers;
	Writer	   *writer;			/* by number of its PGPROC */
	pg_atomic_uint64 *filter;
} Tombstones;

static Tombstones *shared = NULL;
static uint32 number = 0;		/* this backend's last */
static int	place = -1;			/* where loaded[] names our database */
static bool is_settler = false;
static bool published[PENDING]; /* settler: entries that are ours */

PG_FUNCTION_INFO_V1(og_tombstone_note);

/* ------------------------------------------------------------------------
 * Shared memory
 * ------------------------------------------------------------------------
 */

static Size
shmem_size(void)
{
	Size		size = CACHELINEALIGN(sizeof(Tombstones));

	size = add_size(size, PG_CACHE_LINE_SIZE);
	size = add_size(size, mul_size(MaxBackends, sizeof(Writer)));
	return add_size(size, FILTER_WORDS * sizeof(pg_atomic_uint64));
}

/* In shmem_request_hook. */
void
og_tombstone_request_shmem(void)
{
	RequestAddinShmemSpace(shmem_size());
	RequestNamedLWLockTranche(TRANCHE, 1);
}

static void
init(void)
{
	char	   *after = (char *) CACHELINEALIGN(shared + 1);

	memset(shared, 0, sizeof(Tombstones));
	shared->lock = &GetNamedLWLockTranche(TRANCHE)->lock;
	shared->writers = MaxBackends;
	shared->writer = (Writer *) after;
	shared->filter = (pg_atomic_uint64 *)
		(after + sizeof(Writer) * shared->writers);
	pg_atomic_init_u32(&shared->any, 0);
	pg_atomic_init_u32(&shared->npending, 0);
	for (int i = 0; i < DATABASES; i++)
		pg_atomic_init_u32(&shared->loaded[i], InvalidOid);
	for (int i = 0; i < PENDING; i++)
		pg_atomic_init_u64(&shared->pending[i], 0);
	for (int i = 0; i < shared->writers; i++)
		pg_atomic_init_u64(&shared->writer[i].word, 0);
	for (int i = 0; i < FILTER_WORDS; i++)
		pg_atomic_init_u64(&shared->filter[i], 0);
}

/* In shmem_startup_hook; also after a crash, when no writer lives. */
void
og_tombstone_init_shmem(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct(TRANCHE, shmem_size(), &found);
	if (!found)
		init();
	LWLockRelease(AddinShmemInitLock);
}

/* Was the library preloaded?  If not there is no settler either. */
bool
og_tombstone_ready(void)
{
	return shared != NULL;
}

/*
 * og_tombstone_hash
 *		Of a token in this database; never 0.
 */
uint64
og_tombstone_hash(const char *token, int length)
{
	return hash_bytes_extended((const unsigned char *) token, length,
							   MyDatabaseId) | 1;
}

/* Place and bit of the n-th of four bits of a hash. */
static pg_atomic_uint64 *
filter_word(uint64 hash, int n, uint64 *bit)
{
	uint32		at = (hash >> (1 + n * 9)) & 511;
	Size		block = hash >> (64 - BLOCK_BITS);

	*bit = UINT64CONST(1) << (at % 64);
	return &shared->filter[block * BLOCK_WORDS + at / 64];
}

static void
filter_add(uint64 hash)
{
	uint64		bit;

	for (int n = 0; n < 4; n++)
	{
		pg_atomic_uint64 *word = filter_word(hash, n, &bit);

		pg_atomic_fetch_or_u64(word, bit);
	}
	pg_atomic_write_u32(&shared->any, 1);
	pg_memory_barrier();
}

static bool
filter_has(uint64 hash)
{
	uint64		bit;

	for (int n = 0; n < 4; n++)
	{
		pg_atomic_uint64 *word = filter_word(hash, n, &bit);

		if ((pg_atomic_read_u64(word) & bit) == 0)
			return false;
	}
	return true;
}

/* ------------------------------------------------------------------------
 * The table
 * ------------------------------------------------------------------------
 */

static Oid
table_oid(void)
{
	Oid			schema = get_namespace_oid("order_guard", true);

	return OidIsValid(schema) ? get_relname_relid("settled", schema) :
		InvalidOid;
}

/*
 * og_tombstone_recorded
 *		Is there a tombstone, by a snapshot of now?  In a transaction, also
 *		while it commits.  May throw.
 */
bool
og_tombstone_recorded(const char *token)
{
	Oid			oid = table_oid();
	Relation	relation;
	Snapshot	snapshot;
	SysScanDesc scan;
	ScanKeyData key;
	bool		found;

	relation = OidIsValid(oid) ? try_table_open(oid, AccessShareLock) : NULL;
	if (relation == NULL)
		return false;			/* the extension is gone */
	ScanKeyInit(&key, ROW_TOKEN, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(token));
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = systable_beginscan(relation, RelationGetPrimaryKeyIndex(relation),
							  true, snapshot, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(relation, AccessShareLock);
	return found;
}

static uint64
hash_of_row(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, ROW_TOKEN, desc, &isnull);
	text	   *token = DatumGetTextPP(value);

	return og_tombstone_hash(VARDATA_ANY(token), VARSIZE_ANY_EXHDR(token));
}

/*
 * order_guard._note_settled(): trigger of order_guard.settled.  Bits of a row
 * are set before it can commit, whoever writes it.
 */
Datum
og_tombstone_note(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	HeapTuple	tuple;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		RelationGetRelid(data->tg_relation) != table_oid())
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("order_guard._note_settled() is a trigger of "
						"order_guard.settled only")));
	tuple = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple :
		data->tg_trigtuple;
	if (shared)
		filter_add(hash_of_row(tuple, RelationGetDescr(data->tg_relation)));
	return PointerGetDatum(tuple);
}

/* ------------------------------------------------------------------------
 * Writers
 * ------------------------------------------------------------------------
 */

static uint64
mask_of(uint64 hash)
{
	return (UINT64CONST(1) << (32 + (hash >> 1) % 32)) |
		(UINT64CONST(1) << (32 + (hash >> 6) % 32));
}

/*
 * og_tombstone_announce
 *		This transaction is committing a token, maybe one more.  After all are
 *		announced, they are to be looked up.
 */
void
og_tombstone_announce(uint64 hash)
{
	pg_atomic_uint64 *word = &shared->writer[OG_MY_PROCNO].word;
	uint64		now = pg_atomic_read_u64(word);

	if (now == 0)
	{
		number = Max(number + 1, 1);
		now = number;
	}
	pg_atomic_write_u64(word, now | mask_of(hash));
	pg_memory_barrier();
}

/*
 * og_tombstone_retire
 *		The transaction has left the list of those that run.  Cannot fail.
 */
void
og_tombstone_retire(void)
{
	pg_memory_barrier();
	pg_atomic_write_u64(&shared->writer[OG_MY_PROCNO].word, 0);
}

static bool
is_pending(uint64 hash)
{
	if (pg_atomic_read_u32(&shared->npending) == 0)
		return false;
	for (int i = 0; i < PENDING; i++)
		if (pg_atomic_read_u64(&shared->pending[i]) == hash)
			return true;
	return false;
}

static bool
is_loaded(void)
{
	if (place >= 0 &&
		pg_atomic_read_u32(&shared->loaded[place]) == MyDatabaseId)
		return true;
	for (place = DATABASES - 1; place >= 0; place--)
		if (pg_atomic_read_u32(&shared->loaded[place]) == MyDatabaseId)
			return true;
	return false;
}

/*
 * og_tombstone_covers
 *		Is a token settled, or about to be?  In a transaction, after
 *		og_tombstone_announce().  The order of looks matters, see above.
 */
bool
og_tombstone_covers(uint64 hash, const char *token)
{
	if (is_pending(hash))
		return true;
	pg_read_barrier();
	if (is_loaded())
	{
		if (pg_atomic_read_u32(&shared->any) == 0)
			return false;
		pg_read_barrier();
		if (!filter_has(hash))
			return false;
	}
	return og_tombstone_recorded(token);
}

/* ------------------------------------------------------------------------
 * The settler
 * ------------------------------------------------------------------------
 */

/* The worker ends: nobody keeps the filter's promise for its database. */
static void
leave(int code, Datum arg)
{
	og_tombstone_withdraw();
	if (place >= 0 &&
		pg_atomic_read_u32(&shared->loaded[place]) == MyDatabaseId)
		pg_atomic_write_u32(&shared->loaded[place], InvalidOid);
}

/* Marks our database as loaded, if there is a place. */
static void
mark_loaded(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < DATABASES && !is_loaded(); i++)
		if (pg_atomic_read_u32(&shared->loaded[i]) == InvalidOid)
			pg_atomic_write_u32(&shared->loaded[i], MyDatabaseId);
	LWLockRelease(shared->lock);
}

/*
 * og_tombstone_load
 *		Takes all rows into the filter, once.  In a transaction.  Rows that
 *		are not visible yet set their bits themselves.
 */
void
og_tombstone_load(void)
{
	Oid			oid = table_oid();
	Relation	relation;
	Snapshot	snapshot;
	TableScanDesc scan;
	HeapTuple	tuple;

	if (!is_settler)
		before_shmem_exit(leave, (Datum) 0);
	is_settler = true;
	if (is_loaded() || !OidIsValid(oid))
		return;
	relation = table_open(oid, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = table_beginscan(relation, snapshot, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		filter_add(hash_of_row(tuple, RelationGetDescr(relation)));
	}
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(relation, AccessShareLock);
	mark_loaded();
}

/*
 * og_tombstone_publish
 *		From the next barrier on no writer can miss this token; false if there
 *		is no room.
 */
bool
og_tombstone_publish(uint64 hash)
{
	for (int i = 0; i < PENDING; i++)
	{
		uint64		expected = 0;

		if (!pg_atomic_compare_exchange_u64(&shared->pending[i], &expected,
											hash))
			continue;
		published[i] = true;
		pg_atomic_fetch_add_u32(&shared->npending, 1);
		return true;
	}
	return false;
}

/*
 * og_tombstone_withdraw
 *		Takes back all that was published.  Cannot fail.
 */
void
og_tombstone_withdraw(void)
{
	pg_memory_barrier();		/* what took its place comes first */
	for (int i = 0; i < PENDING; i++)
	{
		if (!published[i])
			continue;
		published[i] = false;
		pg_atomic_write_u64(&shared->pending[i], 0);
		pg_atomic_fetch_sub_u32(&shared->npending, 1);
	}
}

static bool
may_mean(uint64 word, const uint64 *hash, int n)
{
	for (int i = 0; i < n; i++)
		if ((word & mask_of(hash[i])) == mask_of(hash[i]))
			return true;
	return false;
}

/*
 * og_tombstone_watch_writers
 *		After publishing: the words of those who may be committing one of
 *		these tokens; palloc'd.
 */
uint64 *
og_tombstone_watch_writers(const uint64 *hash, int n)
{
	uint64	   *seen = palloc0(sizeof(uint64) * shared->writers);

	pg_memory_barrier();
	for (int i = 0; i < shared->writers; i++)
	{
		uint64		word = pg_atomic_read_u64(&shared->writer[i].word);

		if (word != 0 && may_mean(word, hash, n))
			seen[i] = word;
	}
	return seen;
}

/*
 * og_tombstone_writers_done
 *		Are they all through?  A word whose number is the same is not, even
 *		if it means more tokens now.
 */
bool
og_tombstone_writers_done(uint64 *seen)
{
	bool		done = true;

	for (int i = 0; i < shared->writers; i++)
	{
		if (seen[i] == 0)
			continue;
		if ((uint32) pg_atomic_read_u64(&shared->writer[i].word) ==
			(uint32) seen[i])
			done = false;
		else
			seen[i] = 0;
	}
	pg_memory_barrier();
	return done;
}
