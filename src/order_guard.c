/*
 * order_guard.c
 *		Entry of the library: settings, shared memory and hooks.
 *
 * Without shared_preload_libraries nothing is defined: the triggers then do
 * nothing.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "tcop/utility.h"

#include "action.h"
#include "attempt.h"
#include "capture.h"
#include "compat.h"
#include "condition.h"
#include "doom.h"
#include "drop.h"
#include "durable.h"
#include "failpoint.h"
#include "guard.h"
#include "heard.h"
#include "journal.h"
#include "journal_file.h"
#include "launcher.h"
#include "settings.h"
#include "settle.h"
#include "trust.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static shmem_request_hook_type previous_shmem_request = NULL;
static shmem_startup_hook_type previous_shmem_startup = NULL;
static ExecutorStart_hook_type previous_executor_start = NULL;
static ExecutorRun_hook_type previous_executor_run = NULL;
static ExecutorFinish_hook_type previous_executor_finish = NULL;
static ProcessUtility_hook_type previous_utility = NULL;
static emit_log_hook_type previous_emit_log = NULL;

static void
request_shmem(void)
{
	if (previous_shmem_request)
		previous_shmem_request();
	og_journal_request_shmem();
	og_tombstone_request_shmem();
	og_settle_request_shmem();
	og_action_request_shmem();
	og_doom_request_shmem();
	og_launcher_request_shmem();
	RequestAddinShmemSpace(og_durable_shmem_size());
	og_failpoint_request_shmem();
}

static void
startup_shmem(void)
{
	if (previous_shmem_startup)
		previous_shmem_startup();
	og_journal_init_shmem();
	og_tombstone_init_shmem();
	og_settle_init_shmem();
	og_action_init_shmem();
	og_doom_init_shmem();
	og_launcher_init_shmem();
	og_durable_init_shmem();
	og_failpoint_init_shmem();
}

static void
executor_start(QueryDesc *query, int eflags)
{
	if (previous_executor_start)
		previous_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
	if (!(eflags & EXEC_FLAG_EXPLAIN_ONLY))
	{
		og_attempt_expect(query);
		og_guard_prepare(query);
	}
}

static void
executor_run(OG_EXECUTOR_RUN_ARGS)
{
	OgStatement statement;

	og_attempt_enter(&statement, query, NULL, true);
	PG_TRY();
	{
		if (previous_executor_run)
			previous_executor_run(OG_EXECUTOR_RUN_PASS);
		else
			standard_ExecutorRun(OG_EXECUTOR_RUN_PASS);
	}
	PG_CATCH();
	{
		og_attempt_leave(&statement, true);
		PG_RE_THROW();
	}
	PG_END_TRY();
	og_attempt_leave(&statement, false);
}

static void
executor_finish(QueryDesc *query)
{
	OgStatement statement;

	og_attempt_enter(&statement, query, NULL, false);
	PG_TRY();
	{
		if (previous_executor_finish)
			previous_executor_finish(query);
		else
			standard_ExecutorFinish(query);
	}
	PG_CATCH();
	{
		og_attempt_leave(&statement, true);
		PG_RE_THROW();
	}
	PG_END_TRY();
	og_attempt_leave(&statement, false);
}

/* What a utility statement tells about the transaction it stands in. */
static void
look_at_utility(Node *node)
{
	TransactionStmt *statement = (TransactionStmt *) node;

	if (!IsA(node, TransactionStmt))
		return;
	if (statement->kind == TRANS_STMT_PREPARE)
		og_attempt_set_gid(statement->gid);
	og_heard_look(statement);
}

static void
process_utility(PlannedStmt *pstmt, const char *text, bool read_only,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *dest,
				QueryCompletion *completion)
{
	OgStatement statement;

	og_attempt_enter(&statement, NULL, pstmt->utilityStmt, true);
	PG_TRY();
	{
		look_at_utility(pstmt->utilityStmt);
		og_drop_check(pstmt->utilityStmt);
		og_launcher_before_utility(pstmt->utilityStmt);
		(previous_utility ? previous_utility : standard_ProcessUtility)
			(pstmt, text, read_only, context, params, environment, dest,
			 completion);
	}
	PG_CATCH();
	{
		og_attempt_leave(&statement, true);
		PG_RE_THROW();
	}
	PG_END_TRY();
	og_attempt_leave(&statement, false);
}

static void
emit_log(ErrorData *edata)
{
	if (previous_emit_log)
		previous_emit_log(edata);
	og_heard_log(edata);
	og_attempt_log(edata);
}

/* There is more to read than a while ago. */
static void
note_work(bool urgent)
{
	og_launcher_note_work(MyDatabaseId, urgent);
}

static void
install_hooks(void)
{
	previous_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shmem;
	previous_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = startup_shmem;
	previous_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
	previous_executor_run = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
	previous_executor_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = executor_finish;
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	previous_emit_log = emit_log_hook;
	emit_log_hook = emit_log;
	og_journal_work_hook = note_work;
}

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	og_settings_define();
	if (!IsPostmasterEnvironment || IsBinaryUpgrade)
	{
		/* Whatever happens now, the journal knows nothing of it. */
		og_journal_file_disown();
		return;
	}
	og_attempt_init();
	og_guard_init();
	og_heard_init();
	og_captured_init();
	og_condition_init();
	og_failpoint_init();
	og_trust_init();
	og_launcher_register();
	install_hooks();
}
