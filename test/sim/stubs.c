/*
 * stubs.c
 *		What the journal takes from PostgreSQL, as far as it matters: memory,
 *		lists, hash tables, one lock that checks how it is used, the control
 *		file, and two types.
 *
 * The CRC is PostgreSQL's own, from libpgport.
 */
#include "machine.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "catalog/pg_type.h"
#include "common/controldata_utils.h"
#include "common/ip.h"
#include "fmgr.h"
#include "libpq/libpq-be.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/syscache.h"

#include "compat.h"
#include "keytext.h"

static PGPROC my_proc;
static LWLockPadded locks[64];

char	   *DataDir = NULL;
char	   *og_journal_directory = NULL;
int			og_journal_size = SIM_SEGMENTS * OG_SEGMENT_SIZE / 1024;
/* Makes 2 * MaxBackends + 64 as small as the pool is to be. */
int			MaxBackends = (SIM_SEGMENTS - 64) / 2;
int			MyProcPid = 1;
Oid			MyDatabaseId = InvalidOid;
PGPROC	   *MyProc = &my_proc;
struct Port *MyProcPort = NULL;
TimestampTz MyStartTimestamp = 0;
char	   *application_name = NULL;
int			wal_level = 0;
int			pg_file_create_mode = 0600;
MemoryContext CurrentMemoryContext = NULL;
LWLockPadded *MainLWLockArray = locks;

/* ------------------------------------------------------------------------
 * Errors and memory
 * ------------------------------------------------------------------------
 */

/* Messages of the log are of no interest; anything worse does not happen. */
bool
errstart(int elevel, const char *domain)
{
	if (elevel >= ERROR)
		sim_fail("an error was raised");
	return false;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
}

int
errmsg(const char *fmt,...)
{
	return 0;
}

int
errdetail(const char *fmt,...)
{
	return 0;
}

int
errhint(const char *fmt,...)
{
	return 0;
}

int
errcode_for_file_access(void)
{
	return 0;
}

/* All that was allocated goes at once, but each piece is malloc()'s own. */
typedef struct Chunk
{
	struct Chunk *next;
	uint64		unused;			/* keeps the alignment */
} Chunk;

static Chunk *chunks = NULL;

void *
palloc(Size size)
{
	Chunk	   *chunk = malloc(sizeof(Chunk) + size);

	chunk->next = chunks;
	chunks = chunk;
	return chunk + 1;
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void
pfree(void *pointer)
{
}

void
sim_memory_reset(void)
{
	while (chunks)
	{
		Chunk	   *next = chunks->next;

		free(chunks);
		chunks = next;
	}
}

char *
pnstrdup(const char *in, Size length)
{
	char	   *out = palloc(length + 1);

	out[length] = '\0';
	return memcpy(out, in, length);
}

char *
pstrdup(const char *in)
{
	return pnstrdup(in, strlen(in));
}

/* ------------------------------------------------------------------------
 * Lists
 * ------------------------------------------------------------------------
 */

static List *
add_cell(List *list, NodeTag type)
{
	if (list == NIL)
	{
		list = palloc0(sizeof(List));
		list->type = type;
		list->max_length = 0;
	}
	if (list->length == list->max_length)
	{
		ListCell   *old = list->elements;

		list->max_length = Max(8, list->max_length * 2);
		list->elements = palloc(list->max_length * sizeof(ListCell));
		if (list->length > 0)
			memcpy(list->elements, old, list->length * sizeof(ListCell));
	}
	list->length++;
	return list;
}

List *
lappend(List *list, void *datum)
{
	list = add_cell(list, T_List);
	lfirst(&list->elements[list->length - 1]) = datum;
	return list;
}

List *
list_append_unique_oid(List *list, Oid datum)
{
	ListCell   *cell;

	foreach(cell, list)
		if (lfirst_oid(cell) == datum)
			return list;
	list = add_cell(list, T_OidList);
	lfirst_oid(&list->elements[list->length - 1]) = datum;
	return list;
}

void
list_sort(List *list, list_sort_comparator cmp)
{
	if (list_length(list) > 1)
		qsort(list->elements, list->length, sizeof(ListCell),
			  (int (*) (const void *, const void *)) cmp);
}

/* ------------------------------------------------------------------------
 * Hash tables, as lists
 * ------------------------------------------------------------------------
 */

struct HTAB
{
	Size		key;
	Size		entry;
	List	   *entries;
};

HTAB *
hash_create(const char *name, long nelem, const HASHCTL *info, int flags)
{
	HTAB	   *table = palloc0(sizeof(HTAB));

	table->key = info->keysize;
	table->entry = info->entrysize;
	return table;
}

void *
hash_search(HTAB *table, const void *key, HASHACTION action, bool *found)
{
	void	   *entry;
	ListCell   *cell;

	if (found)
		*found = true;
	foreach(cell, table->entries)
		if (memcmp(lfirst(cell), key, table->key) == 0)
			return lfirst(cell);
	if (found)
		*found = false;
	if (action != HASH_ENTER)
		return NULL;
	entry = palloc0(table->entry);
	memcpy(entry, key, table->key);
	table->entries = lappend(table->entries, entry);
	return entry;
}

void
hash_seq_init(HASH_SEQ_STATUS *status, HTAB *table)
{
	status->hashp = table;
	status->curBucket = 0;
}

void *
hash_seq_search(HASH_SEQ_STATUS *status)
{
	if (status->curBucket == (uint32) list_length(status->hashp->entries))
		return NULL;
	return list_nth(status->hashp->entries, status->curBucket++);
}

void
hash_destroy(HTAB *table)
{
}

/* ------------------------------------------------------------------------
 * Shared memory and processes
 * ------------------------------------------------------------------------
 */

bool		sim_locked = false;

static void *shared = NULL;
static LWLockPadded tranche;

/* One thread: whoever finds it taken would wait for ever. */
bool
LWLockAcquire(LWLock *lock, LWLockMode mode)
{
	if (lock != &tranche.lock)
		return true;
	if (sim_locked)
		sim_fail("the lock is taken twice");
	sim_locked = true;
	return true;
}

void
LWLockRelease(LWLock *lock)
{
	if (lock != &tranche.lock)
		return;
	if (!sim_locked)
		sim_fail("the lock is released, but not held");
	sim_locked = false;
}

void
RequestNamedLWLockTranche(const char *name, int number)
{
}

LWLockPadded *
GetNamedLWLockTranche(const char *name)
{
	return &tranche;
}

void
RequestAddinShmemSpace(Size size)
{
}

/* Of random content, as far as the journal does not set it itself. */
void *
ShmemInitStruct(const char *name, Size size, bool *found)
{
	*found = shared != NULL;
	if (shared == NULL)
		shared = memset(malloc(size), 0x5a, size);
	return shared;
}

/* Shared memory goes with all who had it. */
static void
drop_shared(void)
{
	free(shared);
	shared = NULL;
	sim_locked = false;
}

void
sim_start_postmaster(void)
{
	drop_shared();
	sim_switch(&sim_postmaster);
	og_journal_request_shmem();
	og_journal_init_shmem();
}

/* A backend has crashed: its postmaster goes on with new shared memory. */
void
sim_restart_backends(void)
{
	drop_shared();
	sim_switch(&sim_postmaster);
	og_journal_init_shmem();
}

void
on_shmem_exit(pg_on_exit_callback function, Datum arg)
{
	if (sim_running()->exit_callback)
		sim_fail("two exit callbacks");
	sim_running()->exit_callback = function;
}

Oid
GetSessionUserId(void)
{
	return 10;
}

int
pg_getnameinfo_all(const struct sockaddr_storage *addr, int salen, char *node,
				   int nodelen, char *service, int servicelen, int flags)
{
	return 1;
}

bool
pg_strong_random(void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((char *) buf)[i] = (char) sim_random(256);
	return true;
}

/* ------------------------------------------------------------------------
 * The state of the server
 * ------------------------------------------------------------------------
 */

uint64		sim_next_xid = 1000;

uint64
GetSystemIdentifier(void)
{
	return 4711;
}

FullTransactionId
ReadNextFullTransactionId(void)
{
	return FullTransactionIdFromU64(sim_next_xid);
}

TimeLineID
GetWALInsertionTimeLine(void)
{
	return 0;					/* as in the control file below */
}

ControlFileData *
get_controlfile(const char *directory, bool *crc_ok)
{
	ControlFileData *control = palloc0(sizeof(ControlFileData));

	*crc_ok = true;
	control->checkPointCopy.nextXid = FullTransactionIdFromU64(sim_next_xid);
	return control;
}

/* The server is started: postmaster.opts is written. */
void
sim_touch_opts(void)
{
	static int	seconds = 1;
	struct timespec times[2] = {{0, 0}, {0, 0}};
	int			fd = open("postmaster.opts", O_WRONLY | O_CREAT, 0600);

	times[1].tv_sec = ++seconds;
	if (fd < 0 || futimens(fd, times) != 0)
		sim_fail("could not write postmaster.opts");
	close(fd);
}

/* The operating system is started. */
void
sim_boot(void)
{
	static int	boots = 0;
	FILE	   *file = fopen("boot_id", "w");

	if (file == NULL)
		sim_fail("could not write boot_id");
	fprintf(file, "%08x-0000-4000-8000-000000000000\n", ++boots);
	fclose(file);
}

/* ------------------------------------------------------------------------
 * Types: keys are bigint, tokens are text
 * ------------------------------------------------------------------------
 */

int
pg_lltoa(int64 value, char *out)
{
	return sprintf(out, INT64_FORMAT, value);
}

int
pg_ltoa(int32 value, char *out)
{
	return pg_lltoa(value, out);
}

char *
og_keytext_join(char **fields, int n)
{
	if (n != 1)
		sim_fail("a key has %d columns", n);
	return fields[0];
}

/* Not reached with these types. */
HeapTuple
SearchSysCache1(int cache, Datum key)
{
	return NULL;
}

void
ReleaseSysCache(HeapTuple tuple)
{
}

char *
OidOutputFunctionCall(Oid function, Datum value)
{
	return NULL;
}

Datum
cash_numeric(PG_FUNCTION_ARGS)
{
	return (Datum) 0;
}

Datum
DirectFunctionCall1Coll(PGFunction func, Oid collation, Datum arg1)
{
	return (Datum) 0;
}

int
bpchartruelen(char *s, int len)
{
	return len;
}

int
pg_mbcliplen(const char *mbstr, int len, int limit)
{
	return len;
}
