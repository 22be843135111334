/*
 * handler_case.c
 *		One call of a handler, and what is to be thought of it.
 *
 * Runs in the worker, in the transaction that also records the result.  The
 * incident's row is locked first, unless somebody else has it.  A handler
 * that says its order is resolved is believed only where one cannot look.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "handler.h"
#include "handler_private.h"
#include "query.h"
#include "reason.h"
#include "verify.h"

/* The incident and its handler. */
typedef struct Case
{
	char	   *state;
	char	   *status;			/* or NULL, as all below */
	char	   *key;
	char	   *name;			/* of the handler */
	int			limit;			/* ms */
	Oid			function;
	char	   *problem;
} Case;

/* Another member of the proof; value is JSON. */
static void
prove(OgHandlerOutcome *outcome, const char *name, const char *value)
{
	appendStringInfo(&outcome->proof, "%s\"%s\": %s",
					 outcome->proof.len > 0 ? ", " : "", name, value);
}

static char *
quote(const char *text)
{
	StringInfoData json;

	initStringInfo(&json);
	if (text)
		escape_json(&json, text);
	else
		appendStringInfoString(&json, "null");
	return json.data;
}

/* See handler_private.h. */
void
og_handler_prove(OgHandlerOutcome *outcome, const char *name, const char *text)
{
	prove(outcome, name, quote(text));
}

static void
prove_status(OgHandlerOutcome *outcome, const char *name, const char *status)
{
	prove(outcome, name, psprintf("{\"status\": %s}", quote(status)));
}

/*
 * Locks and reads the incident.  If it is locked result stays NULL.
 */
static bool
open_case(const OgHandlerJob *job, Case *c, OgHandlerOutcome *outcome)
{
	static OgPlan plan = {
		"SELECT i.state, i.status, i.key, w.options -> 'handlers' ->> i.kind, "
		"coalesce((extract(epoch FROM (w.options ->> 'handler_timeout')"
		"::interval) * 1000)::integer, 5000), f.function, f.problem "
		"FROM order_guard.incident i "
		"LEFT JOIN order_guard.watch w ON w.id = i.watch "
		"LEFT JOIN LATERAL order_guard._find_handler(w.relation, "
		"w.options -> 'handlers' ->> i.kind) f ON true "
		"WHERE i.id = $1 FOR UPDATE OF i SKIP LOCKED", NULL
	};
	static OgPlan exists_plan = {
		"SELECT FROM order_guard.incident WHERE id = $1", NULL
	};
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(job->incident)};

	og_query_run(&plan, 1, types, values, NULL);
	if (SPI_processed == 0)
	{
		og_query_run(&exists_plan, 1, types, values, NULL);
		if (SPI_processed == 0)
			outcome->result = "moved_on";
		outcome->detail = pstrdup(outcome->result ? "the incident is gone" :
								  "somebody holds the incident");
		return false;
	}
	c->state = og_query_text(0, 0);
	c->status = og_query_text(0, 1);
	c->key = og_query_text(0, 2);
	c->name = og_query_text(0, 3);
	c->limit = DatumGetInt32(og_query_datum(0, 4));
	c->function = og_query_null(0, 5) ? InvalidOid :
		DatumGetObjectId(og_query_datum(0, 5));
	c->problem = og_query_text(0, 6);
	return true;
}

static void
conclude(OgHandlerOutcome *outcome, const char *result, char *detail)
{
	outcome->result = result;
	outcome->detail = detail;
}

/*
 * Did the order leave its status?  Read with a snapshot that sees what the
 * handler did.
 */
static bool
has_moved(OgWatch *watch, const Case *c, OgHandlerOutcome *outcome)
{
	OgPresent  *present;
	OgOwnerResult read;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	read = og_verify_keys(watch, list_make1(c->key), &present);
	PopActiveSnapshot();
	prove_status(outcome, "expected", c->status);
	if (read != OG_OWNER_DONE || present->poisoned)
		outcome->detail = pstrdup("it says resolved, but the order cannot "
								  "be read");
	else if (!present->found)
		outcome->detail = pstrdup("it says resolved, but the order is gone");
	else
	{
		prove_status(outcome, "found", present->status);
		if (present->status == NULL || strcmp(present->status, c->status) != 0)
			return true;
		outcome->detail = psprintf("it says resolved, but the order is still "
								   "%s", c->status);
	}
	outcome->result = "refused";
	return false;
}

/*
 * A handler's word ends an incident, but for what can be looked at: an order
 * that is stuck must have moved, a transaction that is open must have ended.
 */
static bool
may_end(const OgHandlerJob *job, OgWatch *watch, const Case *c,
		OgHandlerOutcome *outcome)
{
	static const char *const other[] = {
		"uncommitted", "prepared", "coverage", "storm"
	};

	for (int i = 0; i < lengthof(other); i++)
	{
		if (strcmp(job->kind, other[i]) != 0)
			continue;
		conclude(outcome, "refused", psprintf("it says resolved, but %s "
											  "goes away by itself only",
											  job->kind));
		return false;
	}
	if (c->key == NULL || c->status == NULL ||
		(strcmp(job->kind, "stalled") != 0 &&
		 strcmp(job->kind, "vanished") != 0))
		return true;
	return has_moved(watch, c, outcome);
}

static void
judge(const OgHandlerJob *job, OgWatch *watch, const Case *c,
	  const OgHandlerCall *call, OgHandlerOutcome *outcome)
{
	og_handler_ended(job);
	prove(outcome, "returned", call->returned ? call->returned : "null");
	if (call->resolved && !may_end(job, watch, c, outcome))
		return;
	conclude(outcome, "done", call->note ? call->note :
			 pstrdup(call->resolved ? "resolved" : "has run"));
	if (call->resolved)
		outcome->resolution = outcome->detail;
}

/*
 * og_handler_error
 *		An error as all who see the incident may read it.  What a function
 *		raises it says to them; what PostgreSQL says may hold values that are
 *		not theirs to see.
 */
char *
og_handler_error(const ErrorData *error)
{
	bool		raised = error->message_id &&
		strcmp(error->message_id, "%s") == 0;

	return psprintf("%s: %s", unpack_sql_state(error->sqlerrcode),
					raised ? error->message : og_reason_error(error));
}

/*
 * What went wrong: what is locked is tried again for a while.
 */
static void
explain_error(const OgHandlerJob *job, const Case *c, OgOwnerResult result,
			  const ErrorData *error, OgHandlerOutcome *outcome)
{
	if (error == NULL && result == OG_OWNER_FAILED)
		conclude(outcome, "refused", pstrdup("the table is gone"));
	else if (error && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
	{
		og_handler_took_too_long(job);
		conclude(outcome, "failed", psprintf("took longer than %d ms",
											 c->limit));
	}
	else if (error && result == OG_OWNER_FAILED &&
			 ERRCODE_TO_CATEGORY(error->sqlerrcode) !=
			 ERRCODE_TRANSACTION_ROLLBACK)
	{
		og_handler_ended(job);
		conclude(outcome, "failed", og_handler_error(error));
	}
	else
		outcome->detail = error ? og_handler_error(error) :
			pstrdup("the table is locked");
	if (error)
		og_handler_prove(outcome, "sqlstate",
						 unpack_sql_state(error->sqlerrcode));
}

static void
run(const OgHandlerJob *job, OgWatch *watch, const Case *c,
	OgHandlerOutcome *outcome)
{
	OgHandlerCall call = {c->function, job->incident};
	TimestampTz start = GetCurrentTimestamp();
	OgOwnerResult result;
	ErrorData  *error;

	call.context = CurrentMemoryContext;
	og_handler_prove(outcome, "handler", c->name);
	og_handler_prove(outcome, "lock", "row of the incident");
	result = og_owner_call(watch, c->limit, og_handler_invoke, &call, &error);
	prove(outcome, "ms", psprintf("%ld", TimestampDifferenceMilliseconds
								  (start, GetCurrentTimestamp())));
	if (result == OG_OWNER_DONE)
		judge(job, watch, c, &call, outcome);
	else
		explain_error(job, c, result, error, outcome);
}

/*
 * og_handler_try
 *		Calls the handler of an action that was taken.  If result stays NULL
 *		it has to be tried again.
 */
void
og_handler_try(const OgHandlerJob *job, OgHandlerOutcome *outcome)
{
	Case		c = {0};
	OgWatch    *watch;

	if (!open_case(job, &c, outcome))
		return;
	watch = og_watch_find(job->watch);
	if (strcmp(c.state, "open") != 0)
		conclude(outcome, "moved_on",
				 psprintf("the incident is %s already", c.state));
	else if (watch == NULL || !OidIsValid(watch->relation))
		conclude(outcome, "refused",
				 pstrdup("the table is not watched any more"));
	else if (c.name == NULL)
		conclude(outcome, "refused",
				 psprintf("there is no handler of %s any more", job->kind));
	else if (c.problem)
	{
		conclude(outcome, "failed", c.problem);
		og_handler_check(watch);
	}
	else
		run(job, watch, &c, outcome);
}
