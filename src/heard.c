/*
 * heard.c
 *		What a client was told of the end of its transactions, if it was.
 *
 * Runs in every backend.  All state is the backend's own; what it finds goes
 * into the journal as a record that follows the outcome of a transaction.
 *
 * Silent rollbacks: COMMIT (or PREPARE TRANSACTION) said in a failed
 * transaction is no error; the answer is ROLLBACK, and few clients look.  The
 * transaction was rolled back, and its outcome noted, when the statement
 * failed; only when a savepoint has failed is it rolled back by the COMMIT.
 *
 * Unheard commits: when the backend ends, it looks whether the last commit
 * with orders was followed by another message of the client.  If not, the
 * client may not have heard, unless the backend had become idle, with the
 * answer handed over.  Even then it has not if the answer was refused by the
 * socket, or lies there when the client is gone.  A connection that is ended
 * while it is idle (told to end, a time-out, Terminate, a client that is gone)
 * is none of these.
 *
 * The room for such a record is what an outcome leaves of the room that was
 * reserved for it: nothing here allocates, locks or fails.  After a crash the
 * journal has no such record; what can be known then is the worker's to say
 * (unheard.c).
 */
#include "postgres.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#ifdef __linux__
#include <linux/sockios.h>
#endif

#include "access/xact.h"
#include "libpq/libpq.h"
#include "libpq/libpq-be.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "heard.h"

StaticAssertDecl(OG_END_LENGTH + sizeof(OgAfterRecord) <= OG_END_MAX,
				 "no room is left behind an outcome");

/* What the running statement says of the transaction it stands in. */
static OgCause said = OG_CAUSE_NONE;

/* Of the sub-transaction that failed last. */
static OgError failure;

/* The last transaction with orders that committed; xact 0: none. */
static struct
{
	uint32		xact;
	TimestampTz at;
	TimestampTz message;		/* of the client, that brought it about */
	bool		deaf;			/* nothing was sent any more */
}			committed;

/* The same of this transaction block, if that failed. */
static struct
{
	uint32		xact;
	TimestampTz at;
}			rolled_back;

/* The connection was not closed but reset. */
static bool reset = false;

/* ------------------------------------------------------------------------
 * Silent rollbacks
 * ------------------------------------------------------------------------
 */

static void
append_after(OgAfterKind kind, uint32 xact, TimestampTz end, OgCause cause)
{
	OgAfterRecord record = {0};

	if (!og_journal_ready() || !og_journal_has_room(sizeof(record)))
		return;
	record.head.type = OG_REC_AFTER;
	record.head.length = sizeof(record);
	record.head.xact = xact;
	record.end = end;
	record.kind = kind;
	record.cause = cause;
	og_journal_append(&record.head);
}

/* A new statement begins. */
void
og_heard_statement(void)
{
	said = OG_CAUSE_NONE;
}

/*
 * og_heard_look
 *		What a statement, which is not executed yet, says of its transaction.
 */
void
og_heard_look(const TransactionStmt *statement)
{
	switch (statement->kind)
	{
		case TRANS_STMT_ROLLBACK:
		case TRANS_STMT_ROLLBACK_TO:
			said = OG_CAUSE_CLIENT;
			return;
		case TRANS_STMT_COMMIT:
			said = OG_CAUSE_SILENT;
			break;
		case TRANS_STMT_PREPARE:
			said = OG_CAUSE_SILENT_PREPARE;
			break;
		default:
			return;
	}
	if (!IsAbortedTransactionBlockState())
		said = OG_CAUSE_NONE;
	else if (GetCurrentTransactionNestLevel() == 1 && rolled_back.xact != 0)
	{
		append_after(OG_AFTER_SILENT, rolled_back.xact, rolled_back.at, said);
		rolled_back.xact = 0;
	}
}

static bool
is_silent(void)
{
	return said == OG_CAUSE_SILENT || said == OG_CAUSE_SILENT_PREPARE;
}

/*
 * og_heard_subabort
 *		A sub-transaction fails, with this error if it was seen; the whole may
 *		come to be rolled back for it.
 */
void
og_heard_subabort(const OgError *error)
{
	if (is_silent())
		return;
	memset(&failure, 0, sizeof(failure));
	if (error)
		failure = *error;
}

/*
 * og_heard_reason
 *		Why a transaction is rolled back, if no error of the current statement
 *		says so.
 */
void
og_heard_reason(OgError *error, bool in_statement)
{
	if (is_silent())
	{
		*error = failure;
		error->watch = 0;
		error->cause = said;
	}
	else if (!proc_exit_inprogress)
		error->cause = said == OG_CAUSE_CLIENT || in_statement ?
			OG_CAUSE_CLIENT : OG_CAUSE_ERROR;
	else if (pgStatSessionEndCause == DISCONNECT_CLIENT_EOF)
		error->cause = OG_CAUSE_CONNECTION_LOST;
	else if (pgStatSessionEndCause == DISCONNECT_NORMAL)
		error->cause = OG_CAUSE_DISCONNECT;
	else
		error->cause = OG_CAUSE_TERMINATED;
}

void
og_heard_rolled_back(const OgEndRecord *end)
{
	rolled_back.xact = end->head.xact;
	rolled_back.at = end->at;
}

/* ------------------------------------------------------------------------
 * Unheard commits
 * ------------------------------------------------------------------------
 */

void
og_heard_committed(const OgEndRecord *end)
{
	committed.xact = end->head.xact;
	committed.at = end->at;
	committed.message = GetCurrentStatementStartTimestamp();
	committed.deaf = whereToSendOutput == DestNone;
}

/* Has the backend answered all and waited for the client? */
static bool
was_idle(void)
{
	if (MyBEEntry == NULL)
		return true;
	switch (MyBEEntry->st_state)
	{
		case STATE_RUNNING:
		case STATE_FASTPATH:
			return false;
		default:
			return true;
	}
}

/*
 * og_heard_end
 *		Any transaction ends.  What happens in a later message, or while the
 *		connection is idle (it is sent notifications), tells that the answer
 *		was handed over.
 */
void
og_heard_end(void)
{
	rolled_back.xact = 0;
	if (committed.xact != 0 && !proc_exit_inprogress &&
		(committed.message != GetCurrentStatementStartTimestamp() ||
		 (was_idle() && !committed.deaf && !ClientConnectionLost)))
		committed.xact = 0;
}

/* For emit_log_hook. */
void
og_heard_log(const ErrorData *edata)
{
	if (edata->elevel == COMMERROR && edata->saved_errno == ECONNRESET)
		reset = true;
}

/*
 * The client is gone: did it leave a part of the answer?  A local socket is
 * reset if it was not read to its end.  On a network the end of the stream
 * acknowledges all that has arrived, so what is not acknowledged has not; a
 * reset may come from anybody, and acknowledges nothing.  Whether it was one
 * is known if the log level lets the hook see it.
 */
static bool
left_unread(void)
{
#ifdef SIOCOUTQ
	int			bytes;

	if (MyProcPort->raddr.addr.ss_family != AF_UNIX)
		return !reset && log_min_messages <= ERROR &&
			ioctl(MyProcPort->sock, SIOCOUTQ, &bytes) == 0 && bytes > 0;
#endif
	return reset && MyProcPort->raddr.addr.ss_family == AF_UNIX;
}

static bool
may_not_have_heard(void)
{
	if (committed.message != GetCurrentStatementStartTimestamp())
		return false;			/* it has said something since */
	if (committed.deaf || pq_is_send_pending())
		return true;
	/* A FATAL error that cannot be sent is not the answer to a COMMIT. */
	if (ClientConnectionLost)
		return whereToSendOutput == DestNone;
	if (pgStatSessionEndCause == DISCONNECT_NORMAL)
		return false;
	return !was_idle() ||
		(pgStatSessionEndCause == DISCONNECT_CLIENT_EOF && left_unread());
}

/* At exit, before the segment is given back. */
static void
note_unheard(void)
{
	if (committed.xact == 0 || MyProcPort == NULL || !may_not_have_heard())
		return;
	append_after(OG_AFTER_UNHEARD, committed.xact, committed.at,
				 ClientConnectionLost ||
				 pgStatSessionEndCause == DISCONNECT_CLIENT_EOF ?
				 OG_CAUSE_CONNECTION_LOST : OG_CAUSE_TERMINATED);
}

void
og_heard_init(void)
{
	og_journal_exit_hook = note_unheard;
}
