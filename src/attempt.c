/*
 * attempt.c
 *		One transaction's work on orders: its records, how it ended and why.
 *
 * Runs in every backend.  All state is the backend's own; what others may
 * know goes into the journal.  The first record of a transaction reserves room
 * for its outcome and for one record per open sub-transaction, so that the
 * callbacks at commit and abort only store: they take no lock, allocate
 * nothing and cannot fail.
 *
 * Reasons: an error is seen by an ErrorContextCallback while a statement runs
 * (also one that PL/pgSQL catches, also when it is not logged) and by the log
 * hook otherwise (at commit, at a time-out of an idle session).  The last
 * error of the current statement is the reason of what is rolled back in it.
 * A new statement forgets it; so a ROLLBACK that a client says has none.
 *
 * After a crash the journal holds the transaction without its outcome; the
 * worker decides (reader.c, verdict).
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "executor/executor.h"
#include "libpq/libpq-be.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "attempt.h"
#include "candidate.h"
#include "compat.h"
#include "condition.h"
#include "doom.h"
#include "fault.h"
#include "heard.h"
#include "settings.h"
#include "target.h"

#define MAX_DEPTH		24		/* sub-transactions with room reserved */
#define MAX_BULK		8		/* watches counted past the limit */

/* The current transaction.  Reset when it ends. */
static struct
{
	bool		begun;			/* BEGIN is in the journal */
	int			incomplete;		/* something is missing; 2: since it has an id */
	int			queued;			/* rows let through by _itemising() */
	int			rows;			/* row records written */
	SubTransactionId deepest;	/* of the rows not yet rolled back */
	int			nbulk;
	OgBulkRecord *bulk[MAX_BULK];	/* in the journal */
}			xact;

static uint32 xact_number = 0;
static uint32 statement_number = 0;
static int	statement_level = 0;

/* The innermost of the statements that run; NULL: none. */
OgStatement *og_attempt_running = NULL;

static char prepare_gid[OG_GID_SIZE];

/* The last error of the current statement. */
static bool error_set = false;
static OgError error;
static MemoryContext error_memory = NULL;

/* What the statement that runs writes to, if that is watched. */
static Oid	target_relation = InvalidOid;
static uint32 target_watch = 0;

bool
og_attempt_active(void)
{
	return og_enabled && og_capture && og_journal_ready() &&
		IsUnderPostmaster && !IsParallelWorker() && !RecoveryInProgress();
}

uint32
og_attempt_statement(void)
{
	return statement_number;
}

/* Bytes that must stay free behind any record of this transaction. */
static uint32
reserve(void)
{
	int			depth = GetCurrentTransactionNestLevel();

	return OG_END_MAX + sizeof(OgBeginRecord) +
		Min(depth, MAX_DEPTH) * OG_END_LENGTH;
}

static void
append_begin(void)
{
	OgBeginRecord record = {0};

	xact_number++;
	record.head.type = OG_REC_BEGIN;
	record.head.length = sizeof(record);
	record.head.xact = xact_number;
	record.head.flags = MyProcPort ? OG_BEGIN_CLIENT : 0;
	record.start = GetCurrentTransactionStartTimestamp();
	record.role = GetUserId();
	record.open_threshold = og_open_threshold;
	og_journal_append(&record.head);
	xact.begun = true;
}

/*
 * Something of this transaction is not in the journal.  Counted once, and once
 * more when it has an id: a sweep waits for older ids.  Cannot fail.
 */
static bool
drop_record(void)
{
	int			degree = TransactionIdIsValid(GetTopTransactionIdIfAny()) ? 2 : 1;

	if (xact.incomplete < degree)
	{
		xact.incomplete = degree;
		og_journal_count_drop();
		og_journal_press();
	}
	return false;
}

/*
 * og_attempt_write
 *		Writes a record of the current transaction; false if there is no room
 *		for it, which is counted and makes the worker sweep.
 */
bool
og_attempt_write(OgRecord *record)
{
	uint32		keep = reserve();

	if (OG_FAULT("write") ||
		GetCurrentTransactionNestLevel() > MAX_DEPTH ||
		!og_journal_reserve(record->length + sizeof(OgBeginRecord), keep))
		return drop_record();
	if (!xact.begun)
	{
		og_journal_refresh_session(record->length + sizeof(OgBeginRecord) +
								   keep);
		append_begin();
	}
	record->xact = xact_number;
	record->subxact = GetCurrentSubTransactionId();
	xact.deepest = Max(xact.deepest, record->subxact);
	og_journal_append(record);
	if (record->type == OG_REC_ROW)
		xact.rows++;
	return true;
}

/* May another row be written one by one? */
bool
og_attempt_admit(void)
{
	return xact.rows < og_max_rows;
}

static OgBulkRecord *
add_bulk(uint32 watch, Oid relation)
{
	OgBulkRecord record = {0};
	uint32		keep = reserve();

	if (xact.nbulk == MAX_BULK ||
		GetCurrentTransactionNestLevel() > MAX_DEPTH ||
		!og_journal_reserve(sizeof(record) + sizeof(OgBeginRecord), keep))
	{
		drop_record();
		return NULL;
	}
	if (!xact.begun)
		append_begin();
	record.head.type = OG_REC_BULK;
	record.head.length = sizeof(record);
	record.head.xact = xact_number;
	record.head.subxact = GetCurrentSubTransactionId();
	record.watch = watch;
	record.relation = relation;
	record.xid = U64FromFullTransactionId(GetTopFullTransactionIdIfAny());
	xact.deepest = Max(xact.deepest, record.head.subxact);
	return xact.bulk[xact.nbulk++] = og_journal_append(&record.head);
}

/* Is the row that is being changed to be noted by itself? */
bool
og_attempt_queue(void)
{
	if (xact.queued >= og_max_rows)
		return false;
	xact.queued++;
	return true;
}

/* If not, it is counted, for the table that og_target_root() tells. */
OgBulkRecord *
og_attempt_count(uint32 watch, Oid relation)
{
	OgBulkRecord *bulk = NULL;

	for (int i = 0; i < xact.nbulk && bulk == NULL; i++)
		if (xact.bulk[i]->watch == watch &&
			xact.bulk[i]->relation == relation)
			bulk = xact.bulk[i];
	if (bulk == NULL)
		bulk = add_bulk(watch, relation);
	if (bulk)
		pg_atomic_write_u64(&bulk->rows,
							pg_atomic_read_u64(&bulk->rows) + 1);
	return bulk;				/* NULL: no room */
}

/* A row that had been let through turned out to be nothing of interest. */
void
og_attempt_unitemise(void)
{
	if (xact.queued > 0 && xact.queued <= og_max_rows)
		xact.queued--;
}

/* ------------------------------------------------------------------------
 * Reasons
 * ------------------------------------------------------------------------
 */

/* Copies a string without control characters, cut to the size. */
static void
copy_text(char *to, const char *from, Size size)
{
	int			length = 0;

	if (from)
	{
		length = pg_mbcliplen(from, strlen(from), size - 1);
		memcpy(to, from, length);
	}
	to[length] = '\0';
	for (; *to; to++)
		if ((unsigned char) *to < ' ')
			*to = ' ';
}

static uint8
cause_of(const ErrorData *edata)
{
	if (edata->elevel < FATAL)
		return OG_CAUSE_ERROR;
	return ERRCODE_TO_CATEGORY(edata->sqlerrcode) ==
		ERRCODE_CONNECTION_EXCEPTION ?
		OG_CAUSE_CONNECTION_LOST : OG_CAUSE_TERMINATED;
}

static void
note_error(const ErrorData *edata)
{
	if (edata->sqlerrcode == ERRCODE_IN_FAILED_SQL_TRANSACTION)
		return;
	error_set = true;
	error.sqlstate = edata->sqlerrcode;
	error.cause = cause_of(edata);
	/* What ends an idle session is not its last statement's failure. */
	error.watch = statement_level > 0 || edata->elevel < FATAL ?
		target_watch : 0;
	error.relation = error.watch ? target_relation : InvalidOid;
	/* The format, not the text: it holds no values. */
	copy_text(error.message, edata->message_id, sizeof(error.message));
	copy_text(error.constraint, edata->constraint_name,
			  sizeof(error.constraint));
}

/*
 * Runs in errfinish(), for messages of every level.  Memory comes from a
 * context made at server start.
 */
static void
error_callback(void *arg)
{
	OgStatement *statement = arg;
	int			code = geterrcode();
	MemoryContext old;
	ErrorData  *edata;

	if (statement->level != statement_level || code == 0 ||
		ERRCODE_TO_CATEGORY(code) == ERRCODE_WARNING ||
		ERRCODE_TO_CATEGORY(code) == ERRCODE_NO_DATA ||
		code == ERRCODE_OUT_OF_MEMORY)
		return;
	old = MemoryContextSwitchTo(error_memory);
	edata = CopyErrorData();
	if (edata->elevel >= ERROR)
		note_error(edata);
	MemoryContextSwitchTo(old);
	MemoryContextReset(error_memory);
}

/*
 * og_attempt_log
 *		For emit_log_hook: errors that no statement's callback saw.
 */
void
og_attempt_log(ErrorData *edata)
{
	if (edata->elevel < ERROR || !IsUnderPostmaster ||
		(error_set && error.sqlstate == edata->sqlerrcode))
		return;
	note_error(edata);
}

/*
 * og_attempt_expect
 *		After ExecutorStart: if the statement writes to a watched relation, a
 *		segment is leased now, so that its failure can be noted even when it
 *		brings no row.
 */
void
og_attempt_expect(QueryDesc *query)
{
	if (!og_target_find(query, true) || !og_attempt_active())
		return;
	og_journal_reserve(sizeof(OgBeginRecord), reserve());
	og_condition_prepare(query);
}

/*
 * og_attempt_enter, og_attempt_leave
 *		Around ExecutorRun and ProcessUtility, with which a statement starts,
 *		and around ExecutorFinish, which belongs to the same statement.
 */
void
og_attempt_enter(OgStatement *statement, QueryDesc *query, Node *utility,
				 bool starts)
{
	if (statement_level == 0 && starts)
	{
		statement_number++;
		error_set = false;
		og_heard_statement();
	}
	if (statement_level == 0)
	{
		target_relation = InvalidOid;
		target_watch = 0;
	}
	statement_level++;
	statement->outer_target = target_relation;
	statement->outer_watch = target_watch;
	if (query && og_target_find(query, false))
	{
		target_relation = og_target.relation;
		target_watch = og_target.watch;
	}
	statement->query = query;
	statement->utility = utility;
	statement->level = statement_level;
	statement->watch = 0;
	statement->outer = og_attempt_running;
	og_attempt_running = statement;
	statement->callback.callback = error_callback;
	statement->callback.arg = statement;
	statement->callback.previous = error_context_stack;
	error_context_stack = &statement->callback;
}

void
og_attempt_leave(OgStatement *statement, bool failed)
{
	statement_level = statement->level - 1;
	og_attempt_running = statement->outer;
	if (statement_level > 0)
	{
		target_relation = statement->outer_target;
		target_watch = statement->outer_watch;
	}
	if (failed)
		return;
	error_context_stack = statement->callback.previous;
	/* It has got over whatever error there was in it. */
	if (statement_level == 0)
		error_set = false;
}

/* The gid of a PREPARE TRANSACTION is not to be had in the callback. */
void
og_attempt_set_gid(const char *gid)
{
	strlcpy(prepare_gid, gid, sizeof(prepare_gid));
}

/* ------------------------------------------------------------------------
 * The end of a transaction.  Nothing here may fail.
 * ------------------------------------------------------------------------
 */

static void
fill_end(OgEndRecord *record, uint8 type, uint8 outcome, uint32 length)
{
	memset(record, 0, length);
	record->head.type = type;
	record->head.xact = xact_number;
	record->head.length = length;
	record->xid = U64FromFullTransactionId(GetTopFullTransactionIdIfAny());
	record->at = GetCurrentTimestamp();
	record->outcome = outcome;
	record->statement = statement_number;
	if (outcome != OG_ROLLED_BACK)
		return;
	if (error_set)
		record->error = error;
	else
		og_heard_reason(&record->error, statement_level > 0);
}

static void
append_end(OgEndRecord *record, const char *place)
{
	if (OG_FAULT(place) || !og_journal_has_room(record->head.length))
		drop_record();
	else
		og_journal_append(&record->head);
}

static void
end_committed(void)
{
	OgEndRecord record;

	fill_end(&record, OG_REC_OUTCOME, OG_COMMITTED, OG_END_SHORT);
	record.head.flags = xact.incomplete ? OG_OUTCOME_INCOMPLETE : 0;
	record.lsn = XactLastCommitEnd;
	append_end(&record, "commit");
	og_heard_committed(&record);
}

static void
end_prepared(void)
{
	OgEndRecord record;

	fill_end(&record, OG_REC_OUTCOME, OG_PREPARED, OG_END_MAX);
	record.head.flags = xact.incomplete ? OG_OUTCOME_INCOMPLETE : 0;
	strlcpy(record.gid, prepare_gid, sizeof(record.gid));
	record.prepared_threshold = og_prepared_threshold;
	append_end(&record, "prepare");
}

/* Is there a failed statement on a watched relation to tell about? */
static bool
may_note_failure(void)
{
	return error_set && error.watch != 0 && og_enabled && og_capture;
}

static void
end_rolled_back(void)
{
	OgEndRecord record;

	/* A statement may have failed before it brought a row. */
	if (!xact.begun)
	{
		if (!may_note_failure() ||
			!og_journal_has_room(sizeof(OgBeginRecord) + OG_END_LENGTH))
			return;
		append_begin();
	}
	fill_end(&record, OG_REC_OUTCOME, OG_ROLLED_BACK, OG_END_LENGTH);
	append_end(&record, "abort");
	og_heard_rolled_back(&record);
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE ||
		event == XACT_EVENT_ABORT)
		og_heard_end();
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (xact.begun)
				og_doom_check();
			return;
		case XACT_EVENT_COMMIT:
			if (xact.begun)
				end_committed();
			break;
		case XACT_EVENT_PREPARE:
			if (xact.begun)
				end_prepared();
			break;
		case XACT_EVENT_ABORT:
			if (og_journal_ready())
				end_rolled_back();
			break;
		default:
			return;
	}
	error_set = false;
	memset(&xact, 0, sizeof(xact));
	og_candidate_reset();
}

static void
subxact_callback(SubXactEvent event, SubTransactionId mine,
				 SubTransactionId parent, void *arg)
{
	OgEndRecord record;

	if (event != SUBXACT_EVENT_ABORT_SUB || !og_journal_ready())
		return;
	og_heard_subabort(error_set ? &error : NULL);
	if (!xact.begun || xact.deepest < mine)
	{
		/* Nothing of it is noted; but a watched statement may have failed. */
		if (!may_note_failure() || xact.incomplete ||
			!og_journal_has_room(OG_END_LENGTH + reserve()))
			return;
		if (!xact.begun)
			append_begin();
	}
	fill_end(&record, OG_REC_SUBABORT, OG_ROLLED_BACK, OG_END_LENGTH);
	record.head.subxact = mine;
	append_end(&record, "subabort");
	xact.deepest = Min(xact.deepest, mine - 1);
	/* A row that comes later must not pass for one that was rolled back. */
	og_candidate_void_all();
	/* The error was this level's; the next needs one of its own to count. */
	error.watch = 0;
}

/*
 * og_attempt_init
 *		In _PG_init, at server start.
 */
void
og_attempt_init(void)
{
	error_memory = AllocSetContextCreate(TopMemoryContext,
										 "order_guard error",
										 ALLOCSET_DEFAULT_SIZES);
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
