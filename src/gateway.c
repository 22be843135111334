/*
 * gateway.c
 *		claim() and answer(): a program of the user's asks the gateway.
 *
 * Runs in the backend of that program.  Whether an incident is handed out
 * stands in its row: not before ask_at, which is the end of the lease while
 * somebody asks, so a program that dies loses its lease by waiting.  Rows that
 * anybody has locked are skipped, and the worker skips those that are locked
 * here, so neither waits for the other.
 *
 * Reading an order's token and status is done as the caller, each in a
 * sub-transaction: one that cannot be read must not keep the others back.
 * Nothing of the table's owner's that changes anything runs then (trust.h).
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "gateway.h"
#include "incident_private.h"
#include "key.h"
#include "query.h"
#include "rights.h"

PG_FUNCTION_INFO_V1(og_claim);
PG_FUNCTION_INFO_V1(og_answer);

#define MAX_CLAIMS	1000
#define MAX_LEASE	USECS_PER_DAY

/* An incident that may be handed out; its row is locked. */
typedef struct Candidate
{
	OgCase		c;
	char	   *token_column;	/* of the table, or NULL */
	char	   *token;			/* or NULL; of a lost attempt, or the row's */
	int			asks;
	bool		used_up;
} Candidate;

static void
refuse_value(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg_internal("%s", message),
			 hint ? errhint("%s", hint) : 0));
}

static void
check_claim(FunctionCallInfo fcinfo)
{
	int32		max;
	Interval   *lease;
	int64		days;

	og_request_refuse_null(fcinfo, 0, "max");
	og_request_refuse_null(fcinfo, 1, "lease");
	max = PG_GETARG_INT32(0);
	lease = PG_GETARG_INTERVAL_P(1);
	if (max < 1 || max > MAX_CLAIMS)
		refuse_value(psprintf("max must be between 1 and %d", MAX_CLAIMS),
					 NULL);
	days = (int64) lease->month * DAYS_PER_MONTH + lease->day;
	if (days < -1 || days > 1 || lease->time < -USECS_PER_DAY ||
		lease->time > MAX_LEASE ||
		days * USECS_PER_DAY + lease->time <= 0 ||
		days * USECS_PER_DAY + lease->time > MAX_LEASE)
		refuse_value("the lease must be positive and at most a day",
					 "A lease is as long as it may take to ask about all that "
					 "is handed out, for example '1 min'.");
}

/*
 * May the current role be given orders of a relation?  Moving them fires the
 * triggers of the table in his name, so he has to have named one that belongs
 * to a stranger: anybody may grant him rights on his.
 */
static bool
may_claim(Oid relation, Oid owner, bool named)
{
	OgCase		c = {.relation = relation};

	if (!named && !superuser_arg(owner) &&
		!is_member_of_role_nosuper(GetUserId(), owner))
		return false;
	return og_rights_may_see(relation) && og_action_may(&c, "answer");
}

/*
 * Watched tables of which the current role may be given orders, as an array
 * of oids; one if it is given.
 */
static Datum
find_relations(Oid relation)
{
	static const Oid types[] = {OIDOID};
	Datum		arg = ObjectIdGetDatum(relation);
	SPITupleTable *tables;
	Datum	   *found;
	int			n = 0;
	bool		isnull;

	og_action_sql("SELECT c.oid, c.relowner FROM order_guard.watch w "
				  "JOIN pg_class c ON c.oid = w.relation "
				  "WHERE $1 IN (0, c.oid)", 1, types, &arg, NULL);
	tables = SPI_tuptable;
	if (OidIsValid(relation) && tables->numvals == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s is not watched", og_key_relation_name(relation)),
				 errhint("order_guard.watch() has a table watched.")));
	found = palloc((tables->numvals + 1) * sizeof(Datum));
	for (uint64 i = 0; i < tables->numvals; i++)
	{
		Datum		oid = SPI_getbinval(tables->vals[i], tables->tupdesc, 1,
										&isnull);
		Datum		owner = SPI_getbinval(tables->vals[i], tables->tupdesc,
										  2, &isnull);

		if (may_claim(DatumGetObjectId(oid), DatumGetObjectId(owner),
					  OidIsValid(relation)))
			found[n++] = oid;
	}
	SPI_freetuptable(tables);
	if (OidIsValid(relation) && n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to act on orders of %s",
						og_key_relation_name(relation)),
				 errhint("It takes the rights to SELECT from the table, and "
						 "to UPDATE it or the columns that make its "
						 "status.")));
	return PointerGetDatum(construct_array(found, n, OIDOID, sizeof(Oid),
										   true, TYPALIGN_INT));
}

static void
read_candidate(int row, Candidate *candidate)
{
	OgCase	   *c = &candidate->c;

	c->id = strtoll(og_incident_column(row, 1), NULL, 10);
	c->kind = og_incident_column(row, 2);
	c->watch = atoi(og_incident_column(row, 3));
	c->relation = strtoul(og_incident_column(row, 4), NULL, 10);
	c->relation_name = og_incident_column(row, 5);
	c->key = og_incident_column(row, 6);
	c->status = og_incident_column(row, 7);
	candidate->token_column = og_incident_column(row, 8);
	candidate->token = og_incident_column(row, 9);
	candidate->asks = atoi(og_incident_column(row, 10));
	candidate->used_up = og_incident_column(row, 11)[0] == 't';
}

/*
 * Locks what may be handed out, the longest due first.  One that a person has
 * put off, or has to decide, is not; one that is acknowledged is: somebody
 * looks at it, but knows no more than before.
 */
static Candidate *
find_candidates(const char *kind, Datum relations, int max, int *n)
{
	static const Oid types[] = {TEXTOID, OIDARRAYOID, INT4OID};
	Datum		args[] = {CStringGetTextDatum(kind), relations,
	Int32GetDatum(max)};
	Candidate  *candidates;

	og_action_sql("SELECT i.id, i.kind, i.watch, i.relation, "
				  "i.relation_name, i.key, i.status, w.token, "
				  "i.evidence ->> 'token', i.asks, i.asks > "
				  "cardinality(order_guard._ask_schedule(w.options)) "
				  "FROM order_guard.incident i "
				  "JOIN order_guard.watch w ON w.id = i.watch "
				  "AND w.relation::oid = i.relation "
				  "WHERE i.state = 'open' AND i.kind = $1 "
				  "AND i.relation = ANY ($2) AND i.key IS NOT NULL "
				  "AND (i.status IS NOT NULL OR i.evidence ? 'token') "
				  "AND i.verdict IS NULL AND i.ask_person IS NULL "
				  "AND coalesce(i.ask_at <= clock_timestamp(), true) "
				  "AND coalesce(i.snoozed_until <= clock_timestamp(), "
				  "true) ORDER BY coalesce(i.ask_at, i.opened_at), i.id "
				  "LIMIT $3 FOR UPDATE OF i SKIP LOCKED",
				  3, types, args, NULL);
	*n = SPI_processed;
	candidates = palloc0((*n + 1) * sizeof(Candidate));
	for (int i = 0; i < *n; i++)
		read_candidate(i, &candidates[i]);
	SPI_freetuptable(SPI_tuptable);
	return candidates;
}

/*
 * Reads the order of a candidate; true if it still is where the incident
 * says, as far as one can tell.
 */
static bool
read_order(Candidate *candidate)
{
	OgWatched  *watched = og_key_watched(candidate->c.watch);
	bool		compare = candidate->c.status != NULL && watched->plain;
	const char *token = candidate->token_column;
	bool		same = !compare;
	char	   *sql;

	if (!compare && (token == NULL || candidate->token != NULL))
		return true;
	sql = psprintf("SELECT %s%s, %s%s FROM %s AS t WHERE %s",
				   compare ? "t." : "NULL",
				   compare ? quote_identifier(watched->status) : "",
				   token ? "t." : "NULL",
				   token ? quote_identifier(token) : "",
				   og_key_relation_name(watched->relation),
				   og_key_condition(watched, candidate->c.key));
	SPI_execute(sql, false, 1);
	if (SPI_processed > 0)
	{
		char	   *status = og_incident_column(0, 1);

		if (compare)
			same = status && strcmp(status, candidate->c.status) == 0;
		if (candidate->token == NULL)
			candidate->token = og_incident_column(0, 2);
	}
	SPI_freetuptable(SPI_tuptable);
	return same;
}

/*
 * The same; an order that cannot be read is not handed out now.
 */
static bool
look_at_order(Candidate *candidate)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool same = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		og_trust_limit(OG_TRUST_READ);
		same = read_order(candidate);
		og_trust_lift();
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error = og_query_undo(context, owner);

		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) ==
			ERRCODE_OPERATOR_INTERVENTION)
			ReThrowError(error);
		/* not for the log: it may tell a key */
		ereport(NOTICE,
				(errcode(error->sqlerrcode),
				 errmsg("incident %lld is not handed out: %s",
						(long long) candidate->c.id, error->message)));
	}
	PG_END_TRY();
	return same;
}

/*
 * The worker is about to clear it; others come first.
 */
static void
put_off(const Candidate *candidate)
{
	static const Oid types[] = {INT8OID};
	Datum		id = Int64GetDatum(candidate->c.id);

	og_action_sql("UPDATE order_guard.incident SET lease = NULL, ask_at "
				  "= clock_timestamp() + interval '10 s' WHERE id = $1",
				  1, types, &id, NULL);
}

static void
hand_out(const Candidate *candidate, Datum lease, ReturnSetInfo *rsinfo)
{
	static const Oid types[] = {INT8OID, TEXTOID, INTERVALOID};
	Datum		args[3] = {Int64GetDatum(candidate->c.id), 0, lease};
	Datum		values[12];
	bool		nulls[12];

	if (candidate->token)
		args[1] = CStringGetTextDatum(candidate->token);
	og_action_sql("UPDATE order_guard.incident i SET asks = i.asks + 1, "
				  "lease = nextval('order_guard.lease_id'), "
				  "ask_at = clock_timestamp() + $3 WHERE i.id = $1 "
				  "RETURNING i.id, i.kind, i.relation::regclass, i.key, "
				  "i.status, $2, i.amount, i.customer, i.asks, i.lease, "
				  "i.ask_at, i.opened_at",
				  3, types, args, candidate->token ? NULL : " n ");
	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, values,
					  nulls);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	SPI_freetuptable(SPI_tuptable);
}

/*
 * order_guard.claim(max integer, lease interval, kind text,
 * relation regclass)
 */
Datum
og_claim(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *kind = "stalled";
	Candidate  *candidates;
	Datum		relations;
	int			n;

	check_claim(fcinfo);
	InitMaterializedSRF(fcinfo, 0);
	if (!PG_ARGISNULL(2))
	{
		og_action_check_kind(PG_GETARG_DATUM(2));
		kind = text_to_cstring(PG_GETARG_TEXT_PP(2));
	}
	SPI_connect();
	relations = find_relations(PG_ARGISNULL(3) ? InvalidOid :
							   PG_GETARG_OID(3));
	candidates = find_candidates(kind, relations, PG_GETARG_INT32(0), &n);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (candidates[i].used_up)
			og_gateway_ask_person(&candidates[i].c,
								  og_gateway_used_up(candidates[i].asks));
		else if (look_at_order(&candidates[i]))
			hand_out(&candidates[i], PG_GETARG_DATUM(1), rsinfo);
		else
			put_off(&candidates[i]);
	}
	SPI_finish();
	return (Datum) 0;
}

static char *
take_verdict(FunctionCallInfo fcinfo)
{
	static const char *const known[] = {
		"succeeded", "failed", "pending", "unknown"
	};
	char	   *verdict = PG_ARGISNULL(1) ? "null" :
		text_to_cstring(PG_GETARG_TEXT_PP(1));

	for (int i = 0; i < lengthof(known); i++)
		if (strcmp(verdict, known[i]) == 0)
			return verdict;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 PG_ARGISNULL(1) ? errmsg("verdict must not be null") :
			 errmsg("there is no verdict \"%s\"", verdict),
			 errhint("Verdicts are succeeded, failed, pending and unknown. An "
					 "error while asking is unknown.")));
	return NULL;
}

/*
 * What the audit keeps of an answer.
 */
static Jsonb *
make_args(const OgRequest *request)
{
	static const Oid types[] = {TEXTOID, INT8OID, JSONBOID};
	Datum		args[] = {CStringGetTextDatum(request->verdict),
		Int64GetDatum(request->lease),
	JsonbPGetDatum(request->evidence)};
	Datum		result;
	bool		isnull;

	og_action_sql("SELECT jsonb_strip_nulls(jsonb_build_object("
				  "'verdict', $1, 'lease', nullif($2, 0))) || "
				  "jsonb_build_object('evidence', "
				  "order_guard._fitting($3, 8000))",
				  3, types, args, NULL);
	result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
						   &isnull);
	result = PointerGetDatum(PG_DETOAST_DATUM_COPY(result));
	SPI_freetuptable(SPI_tuptable);
	return DatumGetJsonbP(result);
}

/*
 * order_guard.answer(incident bigint, verdict text, evidence jsonb,
 * lease bigint)
 */
Datum
og_answer(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	OgRequest	request = {.action = "answer"};
	OgAnswer	answer;
	Datum		values[3];
	bool		nulls[3] = {false};

	og_request_refuse_null(fcinfo, 0, "incident");
	request.verdict = take_verdict(fcinfo);
	request.evidence = PG_ARGISNULL(2) ?
		DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"))) :
		PG_GETARG_JSONB_P(2);
	request.lease = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3);
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	request.args = make_args(&request);
	og_action_act(PG_GETARG_INT64(0), &request, &answer);
	values[0] = Int64GetDatum(answer.id);
	values[1] = CStringGetTextDatum(answer.result);
	values[2] = CStringGetTextDatum(answer.detail);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	SPI_finish();
	return (Datum) 0;
}
