/*
 * action.c
 *		What people do about incidents: acknowledge, snooze, resolve.
 *
 * Runs in the backend of whoever asks.  Every function checks the rights of
 * the current role on the incident (action_rights.c), does what concerns it
 * with his rights, and only for writing order_guard's own tables with those
 * of the extension's owner; there is no function that writes a record of an
 * action without doing the action.
 *
 * Locks: first the incident's row, then the order's.  The worker skips rows
 * that are locked, so it never waits for anybody here.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "action_private.h"
#include "incident_private.h"
#include "query.h"
#include "rights.h"

PG_FUNCTION_INFO_V1(og_acknowledge);
PG_FUNCTION_INFO_V1(og_snooze);
PG_FUNCTION_INFO_V1(og_resolve);
PG_FUNCTION_INFO_V1(og_resolve_all);

/*
 * og_action_read_case
 *		Reads an incident, as the extension's owner.
 */
bool
og_action_read_case(int64 id, const char *lock, OgCase *c)
{
	static const Oid types[] = {INT8OID};
	Datum		arg = Int64GetDatum(id);
	char	   *sql;
	bool		found;

	sql = psprintf("SELECT i.kind, i.watch, i.relation, i.relation_name, "
				   "i.key, i.status, i.state, i.evidence ->> 'pid', "
				   "i.evidence ->> 'backend_start', "
				   "i.evidence ->> 'xact_start', "
				   "i.evidence ->> 'orders_held', i.evidence ->> 'gid', "
				   "i.evidence ->> 'xid', i.evidence ->> 'owner', "
				   "i.evidence ->> 'database', " OG_EVENT_KEY("i") " "
				   "FROM order_guard.incident i WHERE i.id = $1%s", lock);
	og_action_sql(sql, 1, types, &arg, NULL);
	found = SPI_processed > 0;
	if (found)
	{
		c->id = id;
		c->kind = og_incident_column(0, 1);
		c->watch = atoi(og_incident_column(0, 2));
		c->relation = strtoul(og_incident_column(0, 3), NULL, 10);
		c->relation_name = og_incident_column(0, 4);
		c->key = og_incident_column(0, 5);
		c->status = og_incident_column(0, 6);
		c->state = og_incident_column(0, 7);
		c->pid = og_incident_column(0, 8);
		c->backend_start = og_incident_column(0, 9);
		c->xact_start = og_incident_column(0, 10);
		c->orders_held = og_incident_column(0, 11);
		c->gid = og_incident_column(0, 12);
		c->xid = og_incident_column(0, 13);
		c->owner = og_incident_column(0, 14);
		c->database = og_incident_column(0, 15);
		c->shown_key = og_incident_column(0, 16);
	}
	SPI_freetuptable(SPI_tuptable);
	return found;
}

/*
 * Reads an incident that the current role may act on, and locks it unless
 * nothing is to be changed.  Who may not see it cannot tell it from one that
 * does not exist, nor lock it.
 */
static void
open_case(int64 id, const char *action, bool lock, OgCase *c)
{
	bool		found = og_action_read_case(id, "", c);

	if (found && og_action_may_see(c))
	{
		og_action_check(c, action);
		if (!lock || og_action_read_case(id, " FOR UPDATE OF i", c))
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("incident %lld does not exist", (long long) id)));
}

/*
 * The same for the worker; false if it is gone, or if somebody keeps it
 * locked.
 */
static bool
open_case_unattended(int64 id, bool lock, OgCase *c)
{
	return og_action_read_case(id, lock ? " FOR UPDATE OF i SKIP LOCKED" :
							   "", c);
}

/*
 * Records an action; its id.  What no rollback can take back is recorded by
 * the worker, so that no rollback takes back the record of it either.
 */
static int64
record_action(const OgCase *c, const OgRequest *request,
			  const OgAnswer *answer)
{
	OgActionRow row;

	og_action_row(c, request, answer, &row);
	if (strcmp(answer->result, "queued") == 0 && !request->unattended &&
		(og_action_is_signal(request->action) ||
		 og_action_is_prepared(request->action)))
		return og_action_submit(&row);
	return og_action_insert(&row);
}

static void
close_case(const OgCase *c, const OgRequest *request, const char *resolution)
{
	static const Oid types[] = {INT8OID, TEXTOID};
	Datum		args[2];

	args[0] = Int64GetDatum(c->id);
	args[1] = CStringGetTextDatum(psprintf("%s by %s", resolution,
										   og_action_who(request)));
	og_action_sql("UPDATE order_guard.incident SET state = 'resolved', "
				  "closed_at = clock_timestamp(), resolution = $2 "
				  "WHERE id = $1", 2, types, args, NULL);
	og_incident_notify("resolved", c->id, c->kind, c->relation_name,
					   c->shown_key);
}

static void
close_by_hand(const OgRequest *request, OgAnswer *answer)
{
	answer->lock = request->dry_run ? "none" : "row of the incident";
	if (request->dry_run)
	{
		answer->result = "would_do";
		answer->detail = "would close";
		return;
	}
	answer->result = "done";
	answer->detail = answer->resolution = "closed";
}

/*
 * og_action_act
 *		Does what is asked about one incident.
 */
void
og_action_act(int64 incident, const OgRequest *request, OgAnswer *answer)
{
	OgCase		c = {0};

	memset(answer, 0, sizeof(*answer));
	if (!request->unattended)
		open_case(incident, request->action, !request->dry_run, &c);
	else if (!open_case_unattended(incident, !request->dry_run, &c))
	{
		answer->result = "busy";
		return;
	}
	og_proof_expect(answer, "incident", "open");
	og_proof_find(answer, "incident", c.state);
	if (strcmp(request->action, "answer") == 0)
		og_action_answer(&c, request, answer);
	else if (strcmp(c.state, "open") != 0)
	{
		answer->result = "refused";
		answer->detail = psprintf("the incident is %s already", c.state);
	}
	else if (strcmp(request->action, "close") == 0)
		close_by_hand(request, answer);
	else if (strcmp(request->action, "move") == 0)
		og_action_move(&c, request, answer);
	else if (strcmp(request->action, "ask_again") == 0)
		og_action_ask_again(&c, request, answer);
	else if (strcmp(request->action, "handler") == 0)
		og_action_handler(&c, request, answer);
	else if (og_action_is_prepared(request->action))
		og_action_prepared(&c, request, answer);
	else
		og_action_signal(&c, request, answer);
	if (request->dry_run || answer->id != 0)
		return;
	answer->id = record_action(&c, request, answer);
	if (answer->resolution)
		close_case(&c, request, answer->resolution);
}

static void
put_answer(ReturnSetInfo *rsinfo, int64 incident, const OgAnswer *answer)
{
	Datum		values[4];
	bool		nulls[4] = {false};
	bool		with_incident = rsinfo->setDesc->natts == 4;

	values[0] = Int64GetDatum(incident);
	values[1] = Int64GetDatum(answer->id);
	nulls[1] = answer->id == 0;
	values[2] = CStringGetTextDatum(answer->result);
	values[3] = answer->detail ? CStringGetTextDatum(answer->detail) : 0;
	nulls[3] = answer->detail == NULL;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
						 with_incident ? values : values + 1,
						 with_incident ? nulls : nulls + 1);
}

static char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/*
 * order_guard.resolve(incident bigint, action text, note text, args jsonb)
 */
Datum
og_resolve(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	OgRequest	request = {0};
	OgAnswer	answer;

	og_request_refuse_null(fcinfo, 0, "incident");
	og_request_refuse_null(fcinfo, 1, "action");
	og_request_refuse_null(fcinfo, 3, "args");
	InitMaterializedSRF(fcinfo, 0);
	request.action = text_argument(fcinfo, 1);
	request.note = text_argument(fcinfo, 2);
	request.args = PG_GETARG_JSONB_P(3);
	og_request_check(&request);
	SPI_connect();
	og_action_act(PG_GETARG_INT64(0), &request, &answer);
	put_answer(rsinfo, PG_GETARG_INT64(0), &answer);
	SPI_finish();
	return (Datum) 0;
}

/*
 * Does what is asked about one of many: an error refuses this one only.
 */
static void
act_guarded(int64 incident, const OgRequest *request, OgAnswer *answer)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *error;
	OgCase		c = {0};

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		og_action_act(incident, request, answer);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		error = og_query_undo(context, owner);
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		memset(answer, 0, sizeof(*answer));
		answer->result = "refused";
		answer->detail = og_action_error(error);
		c.id = incident;
		if (!request->dry_run)
			answer->id = record_action(&c, request, answer);
	}
	PG_END_TRY();
}

/*
 * Ids of open incidents of a kind to which the current role may do this,
 * oldest first; a palloc'd array.
 */
static int64 *
find_cases(const char *kind, Oid relation, const char *action, int max,
		   int *n)
{
	static const Oid types[] = {TEXTOID, OIDOID};
	Datum		args[] = {CStringGetTextDatum(kind),
	ObjectIdGetDatum(relation)};
	SPITupleTable *found;
	int64	   *ids;

	*n = 0;
	og_action_sql("SELECT i.id, i.relation, i.key "
				  "FROM order_guard.incident i "
				  "WHERE i.state = 'open' AND i.kind = $1 "
				  "AND ($2 = 0 OR i.relation = $2) ORDER BY i.id",
				  2, types, args, NULL);
	found = SPI_tuptable;
	ids = palloc(Min(max, Max(found->numvals, 1)) * sizeof(int64));
	for (uint64 i = 0; i < found->numvals && *n < max; i++)
	{
		HeapTuple	row = found->vals[i];
		OgCase		c = {.kind = unconstify(char *, kind),.state = "open"};

		CHECK_FOR_INTERRUPTS();
		c.relation = strtoul(SPI_getvalue(row, found->tupdesc, 2), NULL, 10);
		c.key = SPI_getvalue(row, found->tupdesc, 3);
		if (og_action_may_see(&c) && og_action_may(&c, action))
			ids[(*n)++] = strtoll(SPI_getvalue(row, found->tupdesc, 1), NULL,
								  10);
	}
	SPI_freetuptable(found);
	return ids;
}

/*
 * An order's move fires its table's triggers, as whoever asks: he names the
 * table.
 */
static void
check_relation(Oid relation, const OgRequest *request)
{
	OgCase		c = {.relation = relation};

	if (OidIsValid(relation))
	{
		c.relation_name = get_rel_name(relation);
		if (c.relation_name == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("relation with OID %u does not exist", relation)));
		og_action_check(&c, request->action);
	}
	else if (strcmp(request->action, "move") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("action \"move\" needs a relation"),
				 errhint("Name the table: statuses are those of one.")));
}

static void
resolve_many(FunctionCallInfo fcinfo, const OgRequest *request)
{
	Oid			relation = PG_ARGISNULL(2) ? InvalidOid : PG_GETARG_OID(2);
	int			max = PG_GETARG_INT32(5);
	int64	   *ids;
	int			n;

	if (max < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max must be at least 1")));
	SPI_connect();
	check_relation(relation, request);
	ids = find_cases(text_argument(fcinfo, 0), relation, request->action,
					 max, &n);
	for (int i = 0; i < n; i++)
	{
		OgAnswer	answer;

		CHECK_FOR_INTERRUPTS();
		act_guarded(ids[i], request, &answer);
		put_answer((ReturnSetInfo *) fcinfo->resultinfo, ids[i], &answer);
	}
	SPI_finish();
}

/*
 * og_action_check_kind
 *		A kind that is misspelt must not pass for one without incidents.
 */
void
og_action_check_kind(Datum kind)
{
	static const Oid types[] = {TEXTOID};
	char	   *known;
	char	   *kinds;

	SPI_connect();
	og_action_sql("SELECT $1 = ANY (k) OR EXISTS (SELECT "
				  "FROM order_guard.incident i WHERE i.kind = $1), "
				  "array_to_string(k, ', ') FROM order_guard._kinds() k",
				  1, types, &kind, NULL);
	known = og_incident_column(0, 1);
	kinds = og_incident_column(0, 2);
	if (known[0] != 't')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no kind of incident \"%s\"",
						TextDatumGetCString(kind)),
				 errhint("Kinds are: %s.", kinds)));
	SPI_finish();
}

/*
 * order_guard.resolve_all(kind text, action text, relation regclass,
 * note text, args jsonb, max integer, dry_run boolean)
 */
Datum
og_resolve_all(PG_FUNCTION_ARGS)
{
	OgRequest	request = {0};

	og_request_refuse_null(fcinfo, 0, "kind");
	og_request_refuse_null(fcinfo, 1, "action");
	og_request_refuse_null(fcinfo, 4, "args");
	og_request_refuse_null(fcinfo, 5, "max");
	og_request_refuse_null(fcinfo, 6, "dry_run");
	InitMaterializedSRF(fcinfo, 0);
	request.action = text_argument(fcinfo, 1);
	request.note = text_argument(fcinfo, 3);
	request.args = PG_GETARG_JSONB_P(4);
	request.dry_run = PG_GETARG_BOOL(6);
	og_request_check(&request);
	og_action_check_kind(PG_GETARG_DATUM(0));
	resolve_many(fcinfo, &request);
	return (Datum) 0;
}

/* What is closed needs nobody's care. */
static void
refuse_closed(const OgCase *c)
{
	if (strcmp(c->state, "open") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("incident %lld is %s already", (long long) c->id,
						c->state)));
}

/*
 * order_guard.acknowledge(incident bigint, note text)
 */
Datum
og_acknowledge(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {INT8OID, TEXTOID};
	OgRequest	request = {.action = "acknowledge"};
	OgAnswer	answer = {.result = "done"};
	OgCase		c = {0};
	Datum		args[2];

	og_request_refuse_null(fcinfo, 0, "incident");
	request.note = text_argument(fcinfo, 1);
	SPI_connect();
	open_case(PG_GETARG_INT64(0), request.action, true, &c);
	refuse_closed(&c);
	args[0] = PG_GETARG_DATUM(0);
	args[1] = CStringGetTextDatum(og_rights_who());
	og_action_sql("UPDATE order_guard.incident "
				  "SET acknowledged_at = clock_timestamp(), "
				  "acknowledged_by = $2 WHERE id = $1", 2, types, args, NULL);
	record_action(&c, &request, &answer);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * order_guard.snooze(incident bigint, until timestamptz, note text)
 */
Datum
og_snooze(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {INT8OID, TIMESTAMPTZOID};
	OgRequest	request = {.action = "snooze"};
	OgAnswer	answer = {.result = "done"};
	OgCase		c = {0};
	Datum		args[2];
	TimestampTz until;

	og_request_refuse_null(fcinfo, 0, "incident");
	og_request_refuse_null(fcinfo, 1, "until");
	until = PG_GETARG_TIMESTAMPTZ(1);
	if (TIMESTAMP_NOT_FINITE(until) || until <= GetCurrentTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an incident can be snoozed until a time in the "
						"future only"),
				 errhint("To close it call order_guard.resolve().")));
	request.note = text_argument(fcinfo, 2);
	SPI_connect();
	open_case(PG_GETARG_INT64(0), request.action, true, &c);
	refuse_closed(&c);
	args[0] = PG_GETARG_DATUM(0);
	args[1] = PG_GETARG_DATUM(1);
	og_action_sql("UPDATE order_guard.incident SET snoozed_until = $2 "
				  "WHERE id = $1", 2, types, args, NULL);
	answer.detail = psprintf("until %s", timestamptz_to_str(until));
	record_action(&c, &request, &answer);
	SPI_finish();
	PG_RETURN_VOID();
}
