/*
 * action_backend.c
 *		Cancels the query or ends the backend behind an incident.
 *
 * No rollback can undo a signal.  The backend of whoever asks checks that he
 * may and queues the action; the worker carries it out and records the
 * result in the same transaction, which it commits at once.  Who is meant is
 * told by pid, backend_start and xact_start in the evidence, both times: a
 * pid that serves another session, or a session that went on to another
 * transaction, is left alone.
 *
 * If the worker dies between signal and commit the action is tried again,
 * and the check tells that it has moved on.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "action_private.h"
#include "incident_private.h"
#include "rights.h"

/* Actions that one call of og_action_run() carries out. */
#define OG_ACTION_BATCH 100

/* The session of a pid, if it is still in the same transaction. */
#define SAME_TRANSACTION \
	"pg_stat_get_activity((%s)::integer) s " \
	"WHERE s.backend_start = (%s)::timestamptz " \
	"AND s.xact_start = (%s)::timestamptz"

/*
 * Role of the session that an incident means, InvalidOid if it is gone.
 * Reads pg_stat_get_activity() as the extension's owner.
 */
static Oid
find_session(const OgCase *c)
{
	static Oid	types[] = {TEXTOID, TEXTOID, TEXTOID};
	Datum		args[] = {CStringGetTextDatum(c->pid),
		CStringGetTextDatum(c->backend_start),
	CStringGetTextDatum(c->xact_start)};
	char	   *sql = psprintf("SELECT s.usesysid FROM " SAME_TRANSACTION,
							   "$1", "$2", "$3");
	Oid			role = InvalidOid;
	OgRights	saved;

	og_rights_raise(&saved);
	SPI_execute("SELECT pg_stat_clear_snapshot()", false, 0);
	SPI_execute_with_args(sql, 3, types, args, NULL,
						  false, 1);
	if (SPI_processed > 0 && og_incident_column(0, 1) != NULL)
		role = strtoul(og_incident_column(0, 1), NULL, 10);
	SPI_freetuptable(SPI_tuptable);
	og_rights_restore(&saved);
	return role;
}

/*
 * og_action_signal
 *		Decides whether cancel_query or terminate may be queued.
 *
 * Whose table the orders are of gives no right to end a session.
 */
void
og_action_signal(const OgCase *c, const OgRequest *request, OgAnswer *answer)
{
	const char *what = strcmp(request->action, "terminate") == 0 ?
		"end process" : "cancel the query of process";
	const char *missing;
	Oid			role;

	answer->result = "refused";
	if (strcmp(c->kind, "uncommitted") != 0 || c->pid == NULL ||
		c->backend_start == NULL || c->xact_start == NULL)
	{
		answer->detail = pstrdup("the incident is not about an open "
								 "transaction");
		return;
	}
	role = find_session(c);
	if (!OidIsValid(role))
	{
		answer->result = "moved_on";
		answer->detail = psprintf("process %s is not in that transaction "
								  "any more", c->pid);
		return;
	}
	missing = og_rights_signal(OidIsValid(request->role) ? request->role :
							   GetUserId(), role);
	if (missing != NULL)
	{
		answer->detail = pstrdup(missing);
		return;
	}
	answer->result = request->dry_run ? "would_do" : "queued";
	answer->detail = psprintf("%s %s %s", request->dry_run ? "would" :
							  "the worker will", what, c->pid);
}

/*
 * Sends the signal, unless the world moved on; true if it was sent.
 */
static bool
send_signal(bool terminate, const char *action)
{
	static Oid	types[] = {INT8OID};
	Datum		id = Int64GetDatum(strtoll(action, NULL, 10));
	char	   *sql;
	bool		sent;

	sql = psprintf("SELECT %s FROM order_guard.action a "
				   "JOIN order_guard.incident i ON i.id = a.incident, "
				   "LATERAL (SELECT s.pid FROM " SAME_TRANSACTION ") b "
				   "WHERE a.id = $1 AND i.kind = 'uncommitted'",
				   terminate ? "pg_terminate_backend(b.pid)" :
				   "pg_cancel_backend(b.pid)",
				   "i.evidence ->> 'pid'", "i.evidence ->> 'backend_start'",
				   "i.evidence ->> 'xact_start'");
	SPI_execute("SELECT pg_stat_clear_snapshot()", false, 0);
	SPI_execute_with_args(sql, 1, types, &id, NULL,
						  false, 1);
	sent = SPI_processed > 0 && og_incident_column(0, 1)[0] == 't';
	SPI_freetuptable(SPI_tuptable);
	return sent;
}

static void
record_result(const char *action, bool sent)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {INT8OID, TEXTOID, TEXTOID};
	const char *detail = sent ? "signal sent" :
		"the process is not in that transaction any more";
	Datum		args[] = {Int64GetDatum(strtoll(action, NULL, 10)),
		CStringGetTextDatum(sent ? "done" : "moved_on"),
	CStringGetTextDatum(detail)};

	og_incident_plan(&plan,
					 "UPDATE order_guard.action SET result = $2, "
					 "detail = $3, done_at = clock_timestamp() "
					 "WHERE id = $1", 3, types);
	SPI_execute_plan(plan, args, NULL, false, 0);
}

/*
 * og_action_run
 *		Carries out what is queued.
 */
int
og_action_run(void)
{
	static SPIPlanPtr plan = NULL;
	SPITupleTable *queue;
	int			n;

	og_incident_plan(&plan,
					 "SELECT a.id, a.action FROM order_guard.action a "
					 "WHERE a.result = 'queued' ORDER BY a.id "
					 "FOR UPDATE SKIP LOCKED", 0, NULL);
	SPI_execute_plan(plan, NULL, NULL, false, OG_ACTION_BATCH);
	n = SPI_processed;
	queue = SPI_tuptable;
	for (int i = 0; i < n; i++)
	{
		char	   *id = SPI_getvalue(queue->vals[i], queue->tupdesc, 1);
		char	   *action = SPI_getvalue(queue->vals[i], queue->tupdesc, 2);

		CHECK_FOR_INTERRUPTS();
		record_result(id, send_signal(strcmp(action, "terminate") == 0, id));
	}
	SPI_freetuptable(queue);
	return n;
}
