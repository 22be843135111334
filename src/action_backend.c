/*
 * action_backend.c
 *		Cancels the query of the backend behind an incident, ends it, or dooms
 *		its transaction.
 *
 * No rollback can undo a signal.  The backend of whoever asks checks that he
 * may; the worker checks again that it still is what was meant, and does it.
 * That is told by pid, backend_start and xact_start in the evidence, both
 * times: a pid that serves another session, or a session that went on to
 * another transaction, is left alone.
 *
 * Between the look and the signal the transaction cannot end, if it has
 * written anything: its virtual transaction id, read before the look, is
 * compared once more under ProcArrayLock, which it would need to leave the
 * list of those that run, and the signal is sent before that is released.
 *
 * If the worker dies between signal and commit the action is tried again,
 * and the check tells that it has moved on.
 */
#include "postgres.h"

#include <signal.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"

#include "action_private.h"
#include "compat.h"
#include "doom.h"
#include "incident_private.h"
#include "rights.h"

/* The session of an incident, as it is now. */
typedef struct Session
{
	bool		same;			/* in the transaction that is meant */
	Oid			role;
} Session;

/*
 * Reads pg_stat_get_activity() as the extension's owner, and notes what is
 * there.
 */
static Session
find_session(const OgCase *c, OgAnswer *answer)
{
	static const Oid types[] = {TEXTOID, TEXTOID, TEXTOID};
	Datum		args[] = {CStringGetTextDatum(c->pid),
		CStringGetTextDatum(c->backend_start),
	CStringGetTextDatum(c->xact_start)};
	Session		session = {0};
	char	   *same = NULL;
	char	   *backend_start = NULL;
	char	   *xact_start = NULL;

	og_action_sql("SELECT pg_stat_clear_snapshot()", 0, NULL, NULL, NULL);
	og_action_sql("SELECT s.backend_start = $2::timestamptz "
				  "AND s.xact_start = $3::timestamptz, s.usesysid, "
				  "to_json(s.backend_start) #>> '{}', "
				  "to_json(s.xact_start) #>> '{}' "
				  "FROM pg_stat_get_activity($1::integer) s",
				  3, types, args, NULL);
	if (SPI_processed > 0)
	{
		same = og_incident_column(0, 1);
		if (og_incident_column(0, 2))
			session.role = strtoul(og_incident_column(0, 2), NULL, 10);
		backend_start = og_incident_column(0, 3);
		xact_start = og_incident_column(0, 4);
	}
	SPI_freetuptable(SPI_tuptable);
	session.same = same && same[0] == 't' && OidIsValid(session.role);
	og_proof_expect(answer, "pid", c->pid);
	og_proof_expect(answer, "backend_start", c->backend_start);
	og_proof_expect(answer, "xact_start", c->xact_start);
	og_proof_find(answer, "backend_start", backend_start);
	og_proof_find(answer, "xact_start", xact_start);
	return session;
}

static void
moved_on(const OgCase *c, OgAnswer *answer)
{
	answer->result = "moved_on";
	answer->detail = psprintf("process %s is not in that transaction any more",
							  c->pid);
}

/* Is the incident about a backend, and one that can be done this to? */
static bool
fits(const OgCase *c, const char *action, OgAnswer *answer)
{
	answer->result = "refused";
	if (strcmp(c->kind, "uncommitted") != 0 || c->pid == NULL ||
		c->backend_start == NULL || c->xact_start == NULL)
	{
		answer->detail = pstrdup("the incident is not about an open "
								 "transaction");
		return false;
	}
	if (strcmp(action, "doom") == 0 &&
		(c->orders_held == NULL || strcmp(c->orders_held, "0") == 0))
	{
		answer->detail = pstrdup("the transaction has not changed any orders");
		return false;
	}
	return true;
}

/* What the worker will do, or would. */
static char *
promise(const OgCase *c, const OgRequest *request)
{
	const char *will = request->dry_run ? "would" : "the worker will";

	if (strcmp(request->action, "terminate") == 0)
		return psprintf("%s end process %s", will, c->pid);
	if (strcmp(request->action, "doom") == 0)
		return psprintf("%s have the COMMIT of process %s fail", will, c->pid);
	return psprintf("%s cancel the query of process %s", will, c->pid);
}

/*
 * og_action_signal
 *		Decides whether cancel_query, terminate or doom may be queued.
 *
 * Whose table the orders are of gives no right to end a session.
 */
void
og_action_signal(const OgCase *c, const OgRequest *request, OgAnswer *answer)
{
	const char *missing;
	Session		session;

	if (!fits(c, request->action, answer))
		return;
	session = find_session(c, answer);
	if (!session.same)
	{
		moved_on(c, answer);
		return;
	}
	missing = og_rights_signal(OidIsValid(request->role) ? request->role :
							   GetUserId(), session.role);
	if (missing != NULL)
	{
		answer->detail = pstrdup(missing);
		return;
	}
	answer->result = request->dry_run ? "would_do" : "queued";
	answer->detail = promise(c, request);
}

/* ------------------------------------------------------------------------
 * In the worker
 * ------------------------------------------------------------------------
 */

/* The transaction a process is in; false: none, or no process. */
static bool
find_transaction(PGPROC *proc, VirtualTransactionId *vxid)
{
	if (proc == NULL || proc->databaseId != MyDatabaseId)
		return false;
	GET_VXID_FROM_PGPROC(*vxid, *proc);
	return VirtualTransactionIdIsValid(*vxid);
}

static bool
still_in(PGPROC *proc, VirtualTransactionId meant)
{
	VirtualTransactionId now;

	return find_transaction(proc, &now) &&
		VirtualTransactionIdEquals(now, meant);
}

/* False if the transaction has ended; else the error of kill(), 0: none. */
static bool
send_signal(int pid, VirtualTransactionId meant, int signal, int *error)
{
	bool		there;

	*error = 0;
	LWLockAcquire(ProcArrayLock, LW_SHARED);
	there = still_in(BackendPidGetProcWithLock(pid), meant);
#ifdef HAVE_SETSID
	if (there && kill(-pid, signal) != 0)
#else
	if (there && kill(pid, signal) != 0)
#endif
		*error = errno;
	LWLockRelease(ProcArrayLock);
	return there;
}

static void
signal_it(const OgCase *c, const char *action, VirtualTransactionId meant,
		  OgAnswer *answer)
{
	int			signal = strcmp(action, "terminate") == 0 ? SIGTERM : SIGINT;
	int			error;

	if (!send_signal(atoi(c->pid), meant, signal, &error))
		moved_on(c, answer);
	else if (error != 0)
	{
		answer->result = "refused";
		answer->detail = psprintf("the signal could not be sent: %s",
								  strerror(error));
	}
	else
	{
		answer->result = "done";
		answer->detail = pstrdup("signal sent");
		answer->lock = "ProcArrayLock: the transaction had not ended when "
			"the signal was sent";
	}
}

/* It has been doomed.  What came of it is told when it has ended. */
static void
judge_doom(const OgCase *c, const OgDoom *doom, OgAnswer *answer)
{
	VirtualTransactionId meant = doom->vxid;
	OgDoom		last = *doom;
	bool		runs;

	LWLockAcquire(ProcArrayLock, LW_SHARED);
	runs = still_in(BackendPidGetProcWithLock(doom->pid), meant);
	LWLockRelease(ProcArrayLock);
	answer->result = "queued";
	if (runs || !og_doom_find(doom->action, &last))
		return;
	og_proof_expect(answer, "pid", c->pid);
	og_proof_expect(answer, "backend_start", c->backend_start);
	og_proof_expect(answer, "xact_start", c->xact_start);
	og_proof_find(answer, "transaction", psprintf("%d/%u", OG_VXID_PROC(meant),
												  meant.localTransactionId));
	og_proof_find(answer, "end", last.struck ? "its COMMIT failed" :
				  "it did not come to its COMMIT after it was doomed");
	answer->lock = "none: its virtual transaction id is never used again";
	answer->result = last.struck ? "done" : "moved_on";
	answer->detail = last.struck ?
		psprintf("the COMMIT of process %s failed", c->pid) :
		psprintf("the transaction of process %s ended otherwise", c->pid);
}

static void
doom_it(const OgCase *c, int64 id, VirtualTransactionId meant,
		OgAnswer *answer)
{
	if (og_doom_add(id, atoi(c->pid), meant))
	{
		answer->result = "queued";
		return;
	}
	answer->result = "refused";
	answer->detail = psprintf("%d transactions are doomed already", OG_DOOMS);
}

/*
 * og_action_send
 *		Does what was queued, unless the world moved on.
 */
void
og_action_send(const OgCase *c, const char *action, int64 id,
			   OgAnswer *answer)
{
	VirtualTransactionId meant;
	OgDoom		doom;
	bool		open;

	if (!fits(c, action, answer))
		return;
	if (og_doom_find(id, &doom))
	{
		judge_doom(c, &doom, answer);
		return;
	}
	/* Read first: what is found then cannot be of an earlier one. */
	open = find_transaction(BackendPidGetProc(atoi(c->pid)), &meant);
	if (!find_session(c, answer).same || !open)
		moved_on(c, answer);
	else if (strcmp(action, "doom") == 0)
		doom_it(c, id, meant, answer);
	else
		signal_it(c, action, meant, answer);
}
