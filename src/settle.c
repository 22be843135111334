/*
 * settle.c
 *		The worker settles tokens: from then on they are placed, or never will
 *		be.
 *
 * Runs in the worker, between other work, in transactions of its own, since
 * no rollback may undo what somebody was told.  All that has been asked is
 * taken as one batch, in steps, so that a commit that hangs (a standby is
 * gone) holds up nobody but those who ask for its token:
 *
 *		look		what can be answered without a tombstone is: it is placed,
 *					settled, prepared, or (without "cancel") in flight
 *		publish		the rest is made known to writers, and those who may be
 *					committing one of its tokens are remembered
 *		wait		until each of them is through, or nobody waits any more
 *		conclude	look again; what is still not placed gets its row, and
 *					after that has committed the answer goes out
 *
 * The proof is in doc/design.md.  Every error ends the batch: nothing is left
 * published, and whoever asked gets it.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "replication/syncrep.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "probe.h"
#include "query.h"
#include "settle.h"

#define TRANCHE		"order_guard settle"
#define POLL_MS		1			/* while somebody is committing */

OgSettle   *og_settle = NULL;

/* One request of the batch; the strings are copies. */
typedef struct Task
{
	OgSettleRequest *request;
	int			nforms;
	char	   *form[OG_SETTLE_FORMS];
	char	   *by;
	bool		cancel;
	int			pid;
	bool		done;
	OgSettleResult result;
	Oid			relation;
	int			holder;
	TransactionId xid;
	int			sqlstate;
	char	   *text;
} Task;

/* The batch under way, in batch_memory; NIL: none. */
static List *tasks = NIL;		/* of Task */
static List *probes = NIL;		/* of OgProbe */
static uint64 *seen = NULL;		/* published: whom to wait for */
static TimestampTz give_up;
static MemoryContext batch_memory = NULL;

/* In shmem_request_hook. */
void
og_settle_request_shmem(void)
{
	RequestAddinShmemSpace(sizeof(OgSettle));
	RequestNamedLWLockTranche(TRANCHE, 1);
}

/* In shmem_startup_hook. */
void
og_settle_init_shmem(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	og_settle = ShmemInitStruct(TRANCHE, sizeof(OgSettle), &found);
	if (!found)
	{
		memset(og_settle, 0, sizeof(OgSettle));
		og_settle->lock = &GetNamedLWLockTranche(TRANCHE)->lock;
		for (int i = 0; i < OG_SETTLE_REQUESTS; i++)
			ConditionVariableInit(&og_settle->request[i].answered);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* ------------------------------------------------------------------------
 * Requests and answers
 * ------------------------------------------------------------------------
 */

static Task *
make_task(OgSettleRequest *request)
{
	Task	   *task = palloc0(sizeof(Task));

	task->request = request;
	task->nforms = request->nforms;
	for (int i = 0; i < request->nforms; i++)
		task->form[i] = pstrdup(request->form[i]);
	task->by = pstrdup(request->by);
	task->cancel = request->cancel;
	task->pid = request->pid;
	return task;
}

/* Takes what has been asked in this database. */
static void
collect(void)
{
	give_up = 0;
	LWLockAcquire(og_settle->lock, LW_EXCLUSIVE);
	for (int i = 0; i < OG_SETTLE_REQUESTS; i++)
	{
		OgSettleRequest *request = &og_settle->request[i];

		if (request->state != OG_SETTLE_ASKED ||
			request->database != MyDatabaseId)
			continue;
		request->state = OG_SETTLE_SERVED;
		give_up = Max(give_up, request->until);
		tasks = lappend(tasks, make_task(request));
	}
	LWLockRelease(og_settle->lock);
}

static void
answer(Task *task)
{
	OgSettleRequest *request = task->request;

	LWLockAcquire(og_settle->lock, LW_EXCLUSIVE);
	request->result = task->result;
	request->relation = task->relation;
	request->holder = task->holder;
	request->xid = task->xid;
	request->sqlstate = task->sqlstate;
	strlcpy(request->text, task->text ? task->text : "",
			sizeof(request->text));
	request->state = request->abandoned ? OG_SETTLE_FREE :
		OG_SETTLE_ANSWERED;
	LWLockRelease(og_settle->lock);
	ConditionVariableBroadcast(&request->answered);
}

/* The batch is over: those that are done, or all, are answered. */
static void
end_batch(int sqlstate, const char *message)
{
	ListCell   *cell;

	og_tombstone_withdraw();
	foreach(cell, tasks)
	{
		Task	   *task = lfirst(cell);

		if (!task->done)
		{
			task->result = OG_SETTLE_FAILED;
			task->sqlstate = sqlstate;
			task->text = unconstify(char *, message);
		}
		answer(task);
	}
	tasks = NIL;
	probes = NIL;
	seen = NULL;
	MemoryContextReset(batch_memory);
}

/* Answers those that are done, and keeps the others. */
static void
answer_done(void)
{
	ListCell   *cell;

	foreach(cell, tasks)
	{
		Task	   *task = lfirst(cell);

		if (!task->done)
			continue;
		answer(task);
		tasks = foreach_delete_current(tasks, cell);
	}
}

/* The worker ends. */
static void
leave(int code, Datum arg)
{
	if (tasks != NIL)
		end_batch(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
				  "the worker ended");
}

/* ------------------------------------------------------------------------
 * Looking
 * ------------------------------------------------------------------------
 */

static void
finish(void)
{
	og_query_commit();
	MemoryContextSwitchTo(batch_memory);
}

/* Where tokens stand: in columns, and in order_guard.token_use. */
static void
load_probes(void)
{
	static OgPlan plan = {
		"SELECT w.relation::oid, w.token::text, w.id FROM order_guard.watch w "
		"JOIN pg_class c ON c.oid = w.relation "
		"WHERE order_guard._is_guarded(w.options) UNION ALL "
		"SELECT 'order_guard.token_use'::regclass::oid, 'token', 0 "
		"ORDER BY 3", NULL
	};

	og_query_run(&plan, 0, NULL, NULL, NULL);
	MemoryContextSwitchTo(batch_memory);
	probes = NIL;
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		OgProbe    *probe = palloc(sizeof(OgProbe));

		probe->relation = DatumGetObjectId(og_query_datum(row, 0));
		probe->column = og_query_text(row, 1);
		probe->watch = DatumGetInt32(og_query_datum(row, 2));
		probes = lappend(probes, probe);
	}
}

static void
decide(Task *task, OgSettleResult result)
{
	task->result = result;
	task->done = true;
}

/* The gid of a prepared transaction, or NULL. */
static char *
find_gid(TransactionId xid)
{
	static OgPlan plan = {
		"SELECT gid FROM pg_prepared_xacts WHERE transaction = $1", NULL
	};
	Oid			types[] = {XIDOID};
	Datum		values[] = {TransactionIdGetDatum(xid)};

	og_query_run(&plan, 1, types, values, NULL);
	return SPI_processed > 0 ? og_query_text(0, 0) : NULL;
}

/*
 * Who has the token open: a prepared transaction, whose fate is not ours to
 * decide, the caller's own, or another session's.  One that is none of these
 * has ended meanwhile; so this comes before the snapshot that tells how.
 */
static OgSettleResult
judge_open(Task *task, List *open)
{
	ListCell   *cell;

	task->holder = 0;
	foreach(cell, open)
	{
		TransactionId xid = lfirst_oid(cell);
		int			pid = BackendXidGetPid(xid);
		char	   *gid = pid == 0 ? find_gid(xid) : NULL;

		if (gid == NULL && pid == 0)
			continue;
		task->xid = xid;
		task->holder = pid;
		if (gid)
		{
			task->text = MemoryContextStrdup(batch_memory, gid);
			return OG_SETTLE_PREPARED;
		}
		if (pid == task->pid)
			return OG_SETTLE_OWN;
	}
	return task->holder != 0 && !task->cancel ? OG_SETTLE_IN_FLIGHT :
		OG_SETTLE_FAILED;
}

/* First who has it open, then, by a newer snapshot, whether it is placed. */
static void
look_for(Task *task)
{
	OgSettleResult result;
	List	   *open = NIL;
	ListCell   *cell;

	for (int i = 0; i < task->nforms; i++)
		if (og_tombstone_recorded(task->form[i]))
		{
			decide(task, OG_SETTLE_SETTLED);
			return;
		}
	foreach(cell, probes)
		open = list_concat_unique_oid(open, og_probe_open(lfirst(cell),
														  task->form,
														  task->nforms));
	result = judge_open(task, open);
	foreach(cell, probes)
	{
		OgProbe    *probe = lfirst(cell);

		if (!og_probe_committed(probe, task->form, task->nforms))
			continue;
		task->relation = probe->watch ? probe->relation : InvalidOid;
		decide(task, OG_SETTLE_COMMITTED);
		return;
	}
	if (result != OG_SETTLE_FAILED)
		decide(task, result);
}

/* What needs no tombstone is answered. */
static void
look(void)
{
	ListCell   *cell;

	og_query_begin();
	load_probes();
	foreach(cell, tasks)
		look_for(lfirst(cell));
	finish();
	answer_done();
}

/* ------------------------------------------------------------------------
 * The fence
 * ------------------------------------------------------------------------
 */

static void
publish(void)
{
	uint64	   *hashes = palloc(list_length(tasks) * OG_SETTLE_FORMS *
								sizeof(uint64));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, tasks)
	{
		Task	   *task = lfirst(cell);

		for (int i = 0; i < task->nforms; i++)
		{
			hashes[n] = og_tombstone_hash(task->form[i],
										  strlen(task->form[i]));
			if (!og_tombstone_publish(hashes[n++]))
				elog(ERROR, "too many tokens are being settled");
		}
	}
	seen = og_tombstone_watch_writers(hashes, n);
}

static void
write_row(Task *task)
{
	static OgPlan plan = {
		"INSERT INTO order_guard.settled (token, settled_by) VALUES ($1, $2) "
		"ON CONFLICT DO NOTHING", NULL
	};
	Oid			types[] = {TEXTOID, TEXTOID};

	for (int i = 0; i < task->nforms; i++)
	{
		Datum		values[] = {CStringGetTextDatum(task->form[i]),
		CStringGetTextDatum(task->by)};

		og_query_run(&plan, 2, types, values, NULL);
	}
}

/*
 * Commits on disk, and on standbys if commits have to wait for them; false if
 * they did not answer in time.  The row then is there all the same.
 */
static bool
commit_durably(void)
{
	bool		in_time;

	set_config_option("synchronous_commit", "on", PGC_SUSET, PGC_S_SESSION,
					  GUC_ACTION_LOCAL, true, 0, false);
	enable_timeout_at(STATEMENT_TIMEOUT, give_up);
	finish();
	in_time = !get_timeout_indicator(STATEMENT_TIMEOUT, true);
	disable_timeout(STATEMENT_TIMEOUT, false);
	QueryCancelPending = false;
	return in_time;
}

static void
conclude(void)
{
	List	   *written = NIL;
	ListCell   *cell;
	bool		in_time;

	og_query_begin();
	load_probes();
	foreach(cell, tasks)
	{
		Task	   *task = lfirst(cell);

		look_for(task);
		if (task->done)
			continue;
		write_row(task);
		written = lappend(written, task);
	}
	MemoryContextSwitchTo(batch_memory);
	in_time = commit_durably();
	foreach(cell, written)
		decide(lfirst(cell), in_time ? OG_SETTLE_SETTLED :
			   OG_SETTLE_UNREPLICATED);
	end_batch(0, "");
}

/* One step of the batch; throws. */
static long
step(void)
{
	if (seen == NULL)
	{
		look();
		if (tasks == NIL)
		{
			end_batch(0, "");
			return 0;
		}
		publish();
	}
	if (og_tombstone_writers_done(seen))
	{
		conclude();
		return 0;
	}
	if (GetCurrentTimestamp() < give_up)
		return POLL_MS;
	end_batch(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			  "a transaction that may hold the token has been committing "
			  "all the time");
	return 0;
}

static void
fail(void)
{
	ErrorData  *error;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(batch_memory);
	error = CopyErrorData();
	FlushErrorState();
	disable_timeout(STATEMENT_TIMEOUT, false);
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(batch_memory);
	QueryCancelPending = false;
	end_batch(error->sqlerrcode, error->message ? error->message : "");
	RESUME_INTERRUPTS();
}

/* When the worker begins, so that commits need not look into the table. */
static void
load(void)
{
	static bool loaded = false;

	if (loaded)
		return;
	og_query_begin();
	og_tombstone_load();
	finish();
	loaded = true;
}

/* See settle.h. */
long
og_settle_serve(void)
{
	MemoryContext context = CurrentMemoryContext;
	volatile long again = -1;

	if (batch_memory == NULL)
	{
		batch_memory = AllocSetContextCreate(TopMemoryContext,
											 "order_guard settle",
											 ALLOCSET_DEFAULT_SIZES);
		before_shmem_exit(leave, (Datum) 0);
	}
	MemoryContextSwitchTo(batch_memory);
	if (tasks == NIL)
		collect();
	PG_TRY();
	{
		load();
		again = tasks == NIL ? -1 : step();
	}
	PG_CATCH();
	{
		fail();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return again;
}
