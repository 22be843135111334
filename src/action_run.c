/*
 * action_run.c
 *		Carries out what is queued: what no rollback can take back.
 *
 * Runs in the worker, in one transaction for each action and its record.  An
 * action reaches its end once; one whose row somebody keeps locked waits for
 * a later tick, undone.
 *
 * If the worker dies when the deed is done and its record not committed, the
 * action is looked at again, and found to have moved on.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "action_private.h"
#include "doom.h"
#include "fault.h"
#include "incident_private.h"
#include "query.h"

/* Actions that one tick carries out. */
#define OG_ACTION_BATCH 1000

typedef struct Queued
{
	int64		id;
	int64		incident;
	char	   *action;
} Queued;

/*
 * og_action_queued
 *		What is queued, in the order in which it was asked for: a list of
 *		Queued in the current memory context.
 */
List *
og_action_queued(void)
{
	static OgPlan plan = {
		"SELECT a.id, coalesce(a.incident, 0), a.action "
		"FROM order_guard.action a WHERE a.result = 'queued' "
		"AND a.action IN ('cancel_query', 'doom', 'terminate', "
		"'commit_prepared', 'rollback_prepared') ORDER BY a.id LIMIT $1", NULL
	};
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(OG_ACTION_BATCH)};
	List	   *queue = NIL;

	og_query_run(&plan, 1, types, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		Queued	   *queued = palloc(sizeof(Queued));

		queued->id = DatumGetInt64(og_query_datum(row, 0));
		queued->incident = DatumGetInt64(og_query_datum(row, 1));
		queued->action = og_query_text(row, 2);
		queue = lappend(queue, queued);
	}
	return queue;
}

/* Locks the record of an action; false if somebody else has it. */
static bool
lock_record(const Queued *queued)
{
	static OgPlan plan = {
		"SELECT FROM order_guard.action WHERE id = $1 AND result = 'queued' "
		"FOR UPDATE SKIP LOCKED", NULL
	};
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(queued->id)};

	og_query_run(&plan, 1, types, values, NULL);
	return SPI_processed > 0;
}

static void
write_end(const Queued *queued, const OgAnswer *answer)
{
	static OgPlan plan = {
		"UPDATE order_guard.action SET result = $2, detail = $3, "
		"proof = $4::jsonb, done_at = clock_timestamp() WHERE id = $1", NULL
	};
	Oid			types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID};
	char	   *proof = og_proof_text(answer);
	Datum		values[] = {Int64GetDatum(queued->id),
		CStringGetTextDatum(answer->result),
		CStringGetTextDatum(answer->detail ? answer->detail : ""),
	proof ? CStringGetTextDatum(proof) : (Datum) 0};

	og_query_run(&plan, 4, types, values, proof ? "    " : "   n");
}

/* What is done about it, and what comes of that. */
static void
carry_out(const Queued *queued, OgAnswer *answer)
{
	OgCase		c = {0};

	if (!og_action_read_case(queued->incident, "", &c))
	{
		answer->result = "moved_on";
		answer->detail = pstrdup("the incident is gone");
	}
	else if (!og_action_is_prepared(queued->action))
		og_action_send(&c, queued->action, queued->id, answer);
	else if (og_action_verify(&c, answer))
	{
		og_action_finish(&c, queued->action[0] == 'c', answer);
		OG_CRASH("finish-crash", true);
	}
}

static void
run_one(const Queued *queued)
{
	OgAnswer	answer = {0};
	bool		ended = false;

	og_query_begin();
	/* Nothing is done that cannot be recorded. */
	if (lock_record(queued))
	{
		carry_out(queued, &answer);
		ended = strcmp(answer.result, "queued") != 0;
		if (ended)
			write_end(queued, &answer);
	}
	og_query_commit();
	if (ended)
		og_doom_forget(queued->id);
}

/* What went wrong is its end, unless it may be tried again. */
static void
record_error(const Queued *queued, MemoryContext memory)
{
	OgAnswer	answer = {.result = "refused"};
	ErrorData  *edata;

	MemoryContextSwitchTo(memory);
	edata = CopyErrorData();
	if (edata->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		PG_RE_THROW();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(memory);
	/* somebody is about to finish it; a lock was held for a moment */
	if (edata->sqlerrcode == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE ||
		edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		return;
	answer.detail = edata->message;
	og_query_begin();
	if (lock_record(queued))
		write_end(queued, &answer);
	og_query_commit();
}

static void
run(const Queued *queued, MemoryContext memory)
{
	PG_TRY();
	{
		run_one(queued);
	}
	PG_CATCH();
	{
		record_error(queued, memory);
	}
	PG_END_TRY();
}

/* Dooms of actions that were taken out of the table in other ways. */
static void
keep_dooms(List *queue)
{
	int64	   *ids = palloc(sizeof(int64) * Max(list_length(queue), 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, queue)
		ids[n++] = ((Queued *) lfirst(cell))->id;
	og_doom_keep(ids, n);
	pfree(ids);
}

/*
 * og_action_run
 *		See action.h.
 */
void
og_action_run(List *queue)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext memory;
	ListCell   *cell;

	if (list_length(queue) < OG_ACTION_BATCH)
		keep_dooms(queue);
	if (queue == NIL)
		return;
	memory = AllocSetContextCreate(caller, "order_guard action",
								   ALLOCSET_DEFAULT_SIZES);
	foreach(cell, queue)
	{
		CHECK_FOR_INTERRUPTS();
		run(lfirst(cell), memory);
		MemoryContextReset(memory);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(memory);
}
