/*
 * action_queue.c
 *		Handing actions to the worker, which writes them down.
 *
 * What no rollback can take back (a signal, a prepared transaction) must not
 * lose its record by a rollback either.  So the backend of whoever asks puts
 * it into shared memory and waits until the worker has written it, as queued,
 * in a transaction of its own; the worker carries it out in its next tick.
 * From then on a ROLLBACK changes nothing.
 *
 * All requests are under one LWLock.  If a caller gives up before the worker
 * has taken his request it never happened; after that it may have, and the
 * table tells.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "action_private.h"
#include "query.h"
#include "slot.h"

#define TRANCHE		"order_guard actions"
#define REQUESTS	16
#define TEXT_SIZE	8192
#define FIELDS		9
#define WAIT_MS		60000		/* longer than anything the worker does */
#define RETRY_MS	10

/*
 *	FREE -> TAKEN -> ASKED (backend) -> SERVED -> ANSWERED (worker) -> FREE
 *
 * A backend that gives up makes an ASKED one FREE, of a SERVED one it says so
 * and the worker does.
 */
typedef enum State
{
	FREE = 0,
	TAKEN,
	ASKED,
	SERVED,
	ANSWERED
} State;

typedef struct Request
{
	State		state;
	bool		abandoned;
	Oid			database;
	ConditionVariable answered;

	int64		incident;
	bool		present[FIELDS];
	char		text[TEXT_SIZE];	/* those present, each with its end */

	/* The answer. */
	int64		id;				/* 0: it failed */
	int			sqlstate;
	char		error[256];
} Request;

typedef struct Queue
{
	LWLock	   *lock;
	pg_atomic_uint32 asked;		/* requests that are ASKED, for a quick look */
	Request		request[REQUESTS];
} Queue;

static Queue *queue = NULL;
static Request *mine = NULL;

/* In shmem_request_hook. */
void
og_action_request_shmem(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(Queue)));
	RequestNamedLWLockTranche(TRANCHE, 1);
}

/* In shmem_startup_hook. */
void
og_action_init_shmem(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	queue = ShmemInitStruct(TRANCHE, sizeof(Queue), &found);
	if (!found)
	{
		memset(queue, 0, sizeof(Queue));
		queue->lock = &GetNamedLWLockTranche(TRANCHE)->lock;
		pg_atomic_init_u32(&queue->asked, 0);
		for (int i = 0; i < REQUESTS; i++)
			ConditionVariableInit(&queue->request[i].answered);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* ------------------------------------------------------------------------
 * Who asks
 * ------------------------------------------------------------------------
 */

/* Nobody waits for this request any more. */
static void
abandon(int code, Datum arg)
{
	if (mine == NULL)
		return;
	LWLockAcquire(queue->lock, LW_EXCLUSIVE);
	if (mine->state == ASKED)
		pg_atomic_fetch_sub_u32(&queue->asked, 1);
	if (mine->state == SERVED)
		mine->abandoned = true;
	else
		mine->state = FREE;
	LWLockRelease(queue->lock);
	mine = NULL;
}

static Request *
take_request(void)
{
	Request    *request = NULL;

	LWLockAcquire(queue->lock, LW_EXCLUSIVE);
	for (int i = 0; i < REQUESTS && request == NULL; i++)
		if (queue->request[i].state == FREE)
			request = &queue->request[i];
	if (request)
	{
		request->state = TAKEN;
		request->abandoned = false;
	}
	LWLockRelease(queue->lock);
	return request;
}

/* Puts the texts one behind the other; throws if they are too long. */
static void
fill_request(const OgActionRow *row)
{
	const char *texts[FIELDS] = {row->action, row->by, row->login, row->role,
		row->result, row->detail, row->proof, row->note, row->args
	};
	Size		used = 0;

	mine->database = MyDatabaseId;
	mine->incident = row->incident;
	for (int i = 0; i < FIELDS; i++)
	{
		Size		size = texts[i] ? strlen(texts[i]) + 1 : 0;

		if (size > TEXT_SIZE - used)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("note and args are too long"),
					 errdetail("An action that no rollback can take back has "
							   "room for about %d bytes of them.",
							   TEXT_SIZE / 2)));
		mine->present[i] = texts[i] != NULL;
		if (texts[i])
			memcpy(mine->text + used, texts[i], size);
		used += size;
	}
	LWLockAcquire(queue->lock, LW_EXCLUSIVE);
	mine->state = ASKED;
	pg_atomic_fetch_add_u32(&queue->asked, 1);
	LWLockRelease(queue->lock);
}

static bool
is_answered(void)
{
	bool		answered;

	LWLockAcquire(queue->lock, LW_SHARED);
	answered = mine->state == ANSWERED;
	LWLockRelease(queue->lock);
	return answered;
}

static void
report_timeout(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the worker did not take the action within %d s",
					WAIT_MS / 1000),
			 errdetail("It may have been queued or not; order_guard.actions "
					   "tells."),
			 errhint("See order_guard.stat_worker and the server log.")));
}

static void
wait_for_answer(TimestampTz until)
{
	ConditionVariablePrepareToSleep(&mine->answered);
	while (!is_answered())
	{
		CHECK_FOR_INTERRUPTS();
		if (GetCurrentTimestamp() >= until)
			report_timeout();
		(void) ConditionVariableTimedSleep(&mine->answered, 100,
										   PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

static void
wait_for_place(TimestampTz until)
{
	while ((mine = take_request()) == NULL)
	{
		if (GetCurrentTimestamp() >= until)
			report_timeout();
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 RETRY_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * og_action_submit
 *		See action_private.h.
 */
int64
og_action_submit(const OgActionRow *row)
{
	TimestampTz until;
	int64		id;
	int			sqlstate;
	char	   *error;

	og_slot_require();
	og_slot_refuse_worker();
	until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), WAIT_MS);
	wait_for_place(until);
	PG_ENSURE_ERROR_CLEANUP(abandon, (Datum) 0);
	{
		fill_request(row);
		og_slot_wake_worker();
		wait_for_answer(until);
		id = mine->id;
		sqlstate = mine->sqlstate;
		error = pstrdup(mine->error);
	}
	PG_END_ENSURE_ERROR_CLEANUP(abandon, (Datum) 0);
	abandon(0, (Datum) 0);
	if (id == 0)
		ereport(ERROR,
				(errcode(sqlstate),
				 errmsg("the action could not be queued: %s", error)));
	return id;
}

/* ------------------------------------------------------------------------
 * The worker
 * ------------------------------------------------------------------------
 */

/* The next request of this database, or NULL. */
static Request *
next_request(void)
{
	Request    *request = NULL;

	if (pg_atomic_read_u32(&queue->asked) == 0)
		return NULL;
	LWLockAcquire(queue->lock, LW_EXCLUSIVE);
	for (int i = 0; i < REQUESTS && request == NULL; i++)
		if (queue->request[i].state == ASKED &&
			queue->request[i].database == MyDatabaseId)
		{
			request = &queue->request[i];
			request->state = SERVED;
			pg_atomic_fetch_sub_u32(&queue->asked, 1);
		}
	LWLockRelease(queue->lock);
	return request;
}

static void
answer(Request *request, int64 id, int sqlstate, const char *error)
{
	LWLockAcquire(queue->lock, LW_EXCLUSIVE);
	request->id = id;
	request->sqlstate = sqlstate;
	strlcpy(request->error, error, sizeof(request->error));
	request->state = request->abandoned ? FREE : ANSWERED;
	LWLockRelease(queue->lock);
	ConditionVariableBroadcast(&request->answered);
}

/* Nobody else looks into it while it is SERVED. */
static int64
write_down(Request *request)
{
	OgActionRow row = {0};
	const char **texts[FIELDS] = {&row.action, &row.by, &row.login, &row.role,
		&row.result, &row.detail, &row.proof, &row.note, &row.args
	};
	const char *text = request->text;
	int64		id;

	row.incident = request->incident;
	for (int i = 0; i < FIELDS; i++)
	{
		if (!request->present[i])
			continue;
		*texts[i] = text;
		text += strlen(text) + 1;
	}
	og_query_begin();
	id = og_action_insert(&row);
	og_query_commit();
	return id;
}

static Request *served = NULL;

/* The worker ends, or an error does. */
static void
leave(int code, Datum arg)
{
	if (served)
		answer(served, 0, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			   "the worker ended");
	served = NULL;
}

static void
fail(MemoryContext context)
{
	ErrorData  *edata;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(context);
	edata = CopyErrorData();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(context);
	QueryCancelPending = false;
	answer(served, 0, edata->sqlerrcode, edata->message ? edata->message : "");
	served = NULL;
	FreeErrorData(edata);
	RESUME_INTERRUPTS();
}

/*
 * og_action_serve
 *		See action.h.  An error is answered, and not the worker's.
 */
void
og_action_serve(void)
{
	static bool registered = false;
	MemoryContext context = CurrentMemoryContext;

	if (!registered)
		before_shmem_exit(leave, (Datum) 0);
	registered = true;
	while ((served = next_request()) != NULL)
	{
		PG_TRY();
		{
			int64		id = write_down(served);

			answer(served, id, 0, "");
			served = NULL;
		}
		PG_CATCH();
		{
			fail(context);
		}
		PG_END_TRY();
		MemoryContextSwitchTo(context);
	}
}
