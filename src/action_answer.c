/*
 * action_answer.c
 *		What the gateway says about an order, and what that changes.
 *
 * Runs in the backend of whoever asked the gateway.  A definite verdict moves
 * the order as a person would, by compare and set, as the caller; whatever
 * goes wrong then, the verdict is kept and a person told.  One that is not
 * definite never moves anything: it puts the next question off, and when the
 * schedule is used up a person has to decide.
 *
 * An answer is about the incident, not about the lease under which it was
 * asked for: one that comes late is as true as before, and compare and set
 * makes it safe.  The lease only decides who may put the next question off.
 *
 * Locks: the incident's row (by og_action_act), then the order's.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/resowner.h"

#include "action_private.h"
#include "gateway.h"
#include "incident_private.h"
#include "query.h"
#include "rights.h"
#include "settings.h"

/* What is known about asking, of the incident's row and its watch. */
typedef struct Asking
{
	char	   *verdict;		/* or NULL, the gateway's so far */
	int64		lease;			/* 0: nobody is asking */
	int			asks;
	char	   *resolution;
	char	   *to;				/* status for the verdict that is given now */
	char	   *next;			/* when to ask again; NULL: never */
} Asking;

/*
 * og_gateway_ask_person
 *		No machine goes on with an incident: raises it, and says why.
 */
void
og_gateway_ask_person(const OgCase *c, const char *why)
{
	static const Oid types[] = {INT8OID, TEXTOID};
	char	   *note = psprintf("%s: a person has to decide", why);
	Datum		args[2];

	og_incident_sanitise(note);
	args[0] = Int64GetDatum(c->id);
	args[1] = CStringGetTextDatum(note);
	og_action_sql("UPDATE order_guard.incident i SET summary = "
				  "order_guard._without_note(i.summary, i.ask_person) "
				  "|| '; ' || $2, severity = 'critical', "
				  "ask_person = $2, lease = NULL WHERE i.id = $1",
				  2, types, args, NULL);
	og_incident_notify("raised", c->id, c->kind, c->relation_name,
					   c->shown_key);
	if (og_log_incidents)
		ereport(LOG_SERVER_ONLY,
				(errmsg_internal("order_guard: incident %lld raised (%s, "
								 "critical): %s", (long long) c->id, c->kind,
								 note),
				 errhidestmt(true), errhidecontext(true)));
}

static bool
is_definite(const char *verdict)
{
	return strcmp(verdict, "succeeded") == 0 ||
		strcmp(verdict, "failed") == 0;
}

static Asking
read_asking(const OgCase *c, const OgRequest *request)
{
	static const Oid types[] = {INT8OID, TEXTOID};
	Datum		args[] = {Int64GetDatum(c->id),
	CStringGetTextDatum(request->verdict)};
	Asking		asking = {0};
	char	   *lease;

	og_action_sql("SELECT i.verdict, i.lease, i.asks, i.resolution, "
				  "w.options -> 'verdicts' ->> $2, (clock_timestamp() + "
				  "(order_guard._ask_schedule(w.options))[i.asks]) "
				  "FROM order_guard.incident i LEFT JOIN "
				  "order_guard.watch w ON w.id = i.watch "
				  "AND w.relation::oid = i.relation WHERE i.id = $1",
				  2, types, args, NULL);
	if (SPI_processed != 1)
		elog(ERROR, "incident %lld is gone", (long long) c->id);
	asking.verdict = og_incident_column(0, 1);
	lease = og_incident_column(0, 2);
	asking.lease = lease ? strtoll(lease, NULL, 10) : 0;
	asking.asks = atoi(og_incident_column(0, 3));
	asking.resolution = og_incident_column(0, 4);
	asking.to = og_incident_column(0, 5);
	asking.next = og_incident_column(0, 6);
	SPI_freetuptable(SPI_tuptable);
	return asking;
}

/*
 * Has this been answered before, since somebody wanted it asked again?  Then
 * the answer is what it was.  A definite verdict is the same whoever brings
 * it; the others count once for each lease.
 */
static bool
is_recorded(const OgCase *c, const OgRequest *request, OgAnswer *answer)
{
	static const Oid types[] = {INT8OID, TEXTOID, INT8OID, BOOLOID, BOOLOID};
	Datum		args[] = {Int64GetDatum(c->id),
		CStringGetTextDatum(request->verdict), Int64GetDatum(request->lease),
		BoolGetDatum(is_definite(request->verdict)),
	BoolGetDatum(strcmp(c->state, "open") != 0)};
	bool		found;

	og_action_sql("SELECT a.id, a.result, a.detail "
				  "FROM order_guard.action a WHERE a.incident = $1 "
				  "AND a.action = 'answer' AND a.args ->> 'verdict' = $2 "
				  "AND ($4 OR a.args ->> 'lease' = $3::text) "
				  "AND ($5 OR a.result <> 'moved_on') AND a.id > coalesce("
				  "(SELECT max(g.id) FROM order_guard.action g WHERE "
				  "g.incident = $1 AND g.action = 'ask_again' "
				  "AND g.result = 'done'), 0) ORDER BY a.id LIMIT 1",
				  5, types, args, NULL);
	found = SPI_processed > 0;
	if (found)
	{
		answer->id = strtoll(og_incident_column(0, 1), NULL, 10);
		answer->result = og_incident_column(0, 2);
		answer->detail = og_incident_column(0, 3);
	}
	SPI_freetuptable(SPI_tuptable);
	return found;
}

/*
 * Notes an answer in the incident's evidence, and the first definite verdict.
 * Who asked is not asking any more.
 */
static void
note_answer(const OgCase *c, const OgRequest *request, bool ends_lease)
{
	static const Oid types[] = {INT8OID, TEXTOID, JSONBOID, INT8OID, TEXTOID,
	BOOLOID, BOOLOID};
	Datum		args[7];

	args[0] = Int64GetDatum(c->id);
	args[1] = CStringGetTextDatum(request->verdict);
	args[2] = JsonbPGetDatum(request->evidence);
	args[3] = Int64GetDatum(request->lease);
	args[4] = CStringGetTextDatum(og_rights_who());
	args[5] = BoolGetDatum(is_definite(request->verdict));
	args[6] = BoolGetDatum(ends_lease);
	og_action_sql("UPDATE order_guard.incident i SET evidence = "
				  "order_guard._add_answer(i.evidence, "
				  "jsonb_strip_nulls(jsonb_build_object('at', "
				  "clock_timestamp(), 'by', $5, 'verdict', $2, 'lease', "
				  "nullif($4, 0))) || jsonb_build_object('evidence', "
				  "order_guard._fitting($3, 1000))), "
				  "verdict = coalesce(i.verdict, CASE WHEN $6 THEN $2 "
				  "END), lease = CASE WHEN NOT $7 THEN i.lease END "
				  "WHERE i.id = $1", 7, types, args, NULL);
}

/* Errors that say nothing about this order: the same again may succeed. */
static bool
is_passing(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INVALID_TRANSACTION_STATE:
			return true;
		default:
			return sqlstate == ERRCODE_LOCK_NOT_AVAILABLE;
	}
}

/*
 * Moves the order.  An error of its table (a trigger, a constraint) must not
 * take the verdict with it: it refuses the move only.
 */
static void
move_order(const OgCase *c, const char *to, OgAnswer *answer)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	OgRequest	request = {.action = "move",.to = pstrdup(to)};
	ErrorData  *error;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		og_action_move(c, &request, answer);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		error = og_query_undo(context, owner);
		if (is_passing(error->sqlerrcode))
			ReThrowError(error);
		answer->result = "refused";
		answer->resolution = NULL;
		answer->lock = "none";
		answer->detail = psprintf("not moved to %s: %s", to,
								  og_action_error(error));
		ereport(NOTICE,
				(errmsg("the order was not moved to %s: %s", to,
						error->message)));
	}
	PG_END_TRY();
}

/*
 * Nobody said what this verdict means for an order, or there is no order.
 */
static void
record_only(const OgCase *c, const OgRequest *request, OgAnswer *answer)
{
	note_answer(c, request, true);
	answer->result = "done";
	if (c->status == NULL && strcmp(request->verdict, "failed") == 0)
	{
		answer->detail = pstrdup("recorded: the gateway does not have it "
								 "either");
		return;
	}
	og_gateway_ask_person(c, psprintf("the gateway says %s",
									  request->verdict));
	answer->detail = psprintf("recorded: %s, a person has to decide",
							  c->status == NULL ? "there is no order to move" :
							  psprintf("the watch maps no status to %s",
									   request->verdict));
}

static void
take_definite(const OgCase *c, const OgRequest *request, const Asking *asking,
			  OgAnswer *answer)
{
	if (c->status == NULL || asking->to == NULL)
	{
		record_only(c, request, answer);
		return;
	}
	move_order(c, asking->to, answer);
	if (strcmp(answer->result, "moved_on") == 0)
		return;					/* the worker is about to clear it */
	note_answer(c, request, true);
	if (answer->resolution)
		answer->resolution = answer->detail =
			psprintf("%s (the gateway says %s)", answer->detail,
					 request->verdict);
	else
		og_gateway_ask_person(c,
							  psprintf("the gateway says %s, but the order "
									   "was not moved to %s",
									   request->verdict, asking->to));
}

/*
 * Opens an incident of its own, since the one that was asked about is closed.
 * The worker never inserts this kind, so it never waits for us here.
 */
static void
open_contradiction(const OgCase *c, const char *first, const char *second)
{
	static const Oid types[] = {INT8OID, TEXTOID, TEXTOID};
	Datum		args[] = {Int64GetDatum(c->id), CStringGetTextDatum(first),
	CStringGetTextDatum(second)};

	og_action_sql("INSERT INTO order_guard.incident AS i (kind, watch, "
				  "relation, relation_name, key, hash, status, severity, "
				  "amount, customer, summary, evidence) "
				  "SELECT 'contradiction', o.watch, o.relation, "
				  "o.relation_name, o.key, o.hash, o.status, 'critical', "
				  "o.amount, o.customer, "
				  "order_guard._printable(format('order %s of %s was %s, "
				  "and now the gateway says %s', o.key, o.relation_name, "
				  "coalesce(o.resolution, 'closed'), $3)), "
				  "jsonb_build_object('incident', o.id, 'first', $2, "
				  "'then', $3) FROM order_guard.incident o "
				  "WHERE o.id = $1 ON CONFLICT (watch, kind, hash) "
				  "WHERE state = 'open' DO NOTHING RETURNING i.id",
				  3, types, args, NULL);
	if (SPI_processed > 0)
		og_incident_notify("opened",
						   strtoll(og_incident_column(0, 1), NULL, 10),
						   "contradiction", c->relation_name, c->shown_key);
	SPI_freetuptable(SPI_tuptable);
}

/*
 * The gateway said the opposite before.  Which is true nobody here can know,
 * so nothing is moved, and not back either.
 */
static void
contradict(const OgCase *c, const OgRequest *request, const Asking *asking,
		   OgAnswer *answer)
{
	answer->result = "refused";
	answer->detail = psprintf("the gateway said %s before: a person has to "
							  "decide", asking->verdict);
	if (strcmp(c->state, "open") != 0)
	{
		open_contradiction(c, asking->verdict, request->verdict);
		return;
	}
	note_answer(c, request, true);
	og_gateway_ask_person(c, psprintf("the gateway said %s and then %s",
									  asking->verdict, request->verdict));
}

/*
 * Did a policy guess, and something else than what the gateway says now?
 */
static bool
was_guessed(const OgCase *c, const char *to)
{
	static const Oid types[] = {INT8OID, TEXTOID};
	Datum		args[] = {Int64GetDatum(c->id), CStringGetTextDatum(to)};
	bool		found;

	og_action_sql("SELECT FROM order_guard.action a WHERE a.incident = $1 "
				  "AND a.action = 'move' AND a.result = 'done' "
				  "AND a.args @> '{\"guess\": true}' "
				  "AND a.args ->> 'to' <> $2", 2, types, args, NULL);
	found = SPI_processed > 0;
	SPI_freetuptable(SPI_tuptable);
	return found;
}

/*
 * The incident is closed.  Whoever closed it decided; but nobody knows yet
 * that a policy guessed wrong.
 */
static void
come_late(const OgCase *c, const OgRequest *request, const Asking *asking,
		  OgAnswer *answer)
{
	answer->result = strcmp(c->state, "cleared") == 0 ? "moved_on" :
		"refused";
	answer->detail = psprintf("too late, the incident is %s: %s",
							  c->state, asking->resolution ?
							  asking->resolution : "no reason is given");
	if (is_definite(request->verdict) && asking->to &&
		was_guessed(c, asking->to))
		open_contradiction(c, "a guess", request->verdict);
}

/*
 * Puts the next question off.
 */
static void
postpone(const OgCase *c, const OgRequest *request, const Asking *asking,
		 OgAnswer *answer)
{
	static const Oid types[] = {INT8OID, TEXTOID};
	bool		in_charge = asking->lease != 0 &&
		(request->lease == 0 || request->lease == asking->lease);
	Datum		args[2];

	note_answer(c, request, in_charge);
	answer->result = "done";
	if (!in_charge)
	{
		answer->detail = pstrdup("recorded: it was not, or is not any more, "
								 "asked under this lease");
		return;
	}
	if (asking->next == NULL)
	{
		og_gateway_ask_person(c, og_gateway_used_up(asking->asks));
		answer->detail = psprintf("recorded: asked %d times, a person has to "
								  "decide", asking->asks);
		return;
	}
	args[0] = Int64GetDatum(c->id);
	args[1] = CStringGetTextDatum(asking->next);
	og_action_sql("UPDATE order_guard.incident SET ask_at = "
				  "$2::timestamptz WHERE id = $1", 2, types, args, NULL);
	answer->detail = psprintf("recorded: to be asked again at %s",
							  asking->next);
}

/*
 * og_gateway_used_up
 *		Why a person is asked who does not know.
 */
char *
og_gateway_used_up(int asks)
{
	return psprintf("the gateway was asked %d %s and does not tell", asks,
					asks == 1 ? "time" : "times");
}

/*
 * og_action_answer
 *		Takes an answer about an incident, open or not.
 */
void
og_action_answer(const OgCase *c, const OgRequest *request, OgAnswer *answer)
{
	Asking		asking;

	if (is_recorded(c, request, answer))
		return;
	asking = read_asking(c, request);
	if (is_definite(request->verdict) && asking.verdict != NULL &&
		strcmp(asking.verdict, request->verdict) != 0)
		contradict(c, request, &asking, answer);
	else if (strcmp(c->state, "open") != 0)
		come_late(c, request, &asking, answer);
	else if (is_definite(request->verdict))
		take_definite(c, request, &asking, answer);
	else
		postpone(c, request, &asking, answer);
}

/*
 * og_action_ask_again
 *		A person wants the gateway asked from the beginning.
 */
void
og_action_ask_again(const OgCase *c, const OgRequest *request,
					OgAnswer *answer)
{
	static const Oid types[] = {INT8OID};
	Datum		id = Int64GetDatum(c->id);

	if (c->key == NULL)
	{
		answer->result = "refused";
		answer->detail = pstrdup("the incident is not about one order");
		return;
	}
	answer->result = request->dry_run ? "would_do" : "done";
	answer->detail = psprintf("the gateway %s be asked again",
							  request->dry_run ? "would" : "is to");
	if (request->dry_run)
		return;
	og_action_sql("UPDATE order_guard.incident i SET summary = "
				  "order_guard._without_note(i.summary, i.ask_person), "
				  "severity = CASE WHEN i.ask_person IS NULL "
				  "THEN i.severity ELSE order_guard._worse('warning', "
				  "i.raised) END, asks = 0, "
				  "ask_at = NULL, lease = NULL, verdict = NULL, "
				  "ask_person = NULL WHERE i.id = $1",
				  1, types, &id, NULL);
}
