/*
 * incident.c
 *		Collects incidents during a transaction of the worker and writes them.
 *
 * Runs in the worker only, which is the only one who inserts incidents (but
 * for contradictions, see action_answer.c: no two ever insert the same).
 * People update rows of order_guard.incident (acknowledge, snooze, resolve)
 * and may keep them locked in a transaction that stays open: every row that
 * exists is therefore taken with SKIP LOCKED, and a refresh that finds its
 * row busy is left out.
 *
 * Rolling back (also to a savepoint) takes back what was collected.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "incident_private.h"

/* Reports of one transaction that are kept with their text. */
#define OG_MAX_ITEMISED 20000
/* Reports that one statement looks at. */
#define OG_CHUNK 1000

static MemoryContext pending_context = NULL;
static OgPending *pending = NULL;
static int	npending = 0;
static int	max_pending = 0;

#define RECORDS \
	"pg_catalog.jsonb_to_recordset($1) AS n(n integer, kind text, " \
	"watch integer, relation oid, key text, hash uuid, status text, " \
	"severity text, amount numeric, customer text, count bigint, " \
	"since timestamptz, summary text, evidence jsonb)"

/*
 * og_incident_plan
 *		The kept plan of a statement, prepared at its first use.
 */
SPIPlanPtr
og_incident_plan(SPIPlanPtr *plan, const char *sql, int nargs,
				 const Oid *types)
{
	if (*plan == NULL)
	{
		SPIPlanPtr	prepared;

		prepared = SPI_prepare(sql, nargs, unconstify(Oid *, types));
		if (prepared == NULL)
			elog(ERROR, "could not prepare \"%s\": %s", sql,
				 SPI_result_code_string(SPI_result));
		if (SPI_keepplan(prepared) != 0)
			elog(ERROR, "could not keep a plan");
		*plan = prepared;
	}
	return *plan;
}

/*
 * og_incident_column
 *		Text of a column (from 1) of the current result of SPI, or NULL.
 */
char *
og_incident_column(int row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						column);
}

/*
 * og_incident_sanitise
 *		Replaces what could forge a line of a log or steer a terminal by
 *		spaces, in place.
 */
void
og_incident_sanitise(char *text)
{
	bool		utf8 = GetDatabaseEncoding() == PG_UTF8;

	for (unsigned char *c = (unsigned char *) text; *c; c++)
	{
		if (*c < 0x20 || *c == 0x7f)
			*c = ' ';
		else if (utf8 && *c == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f)
			c[0] = c[1] = ' ';	/* C1 control characters */
		else if (utf8 && *c == 0xe2 && c[1] == 0x80 &&
				 (c[2] == 0xa8 || c[2] == 0xa9))
			c[0] = c[1] = c[2] = ' ';	/* line, paragraph separator */
	}
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	bool		commit = event == XACT_EVENT_COMMIT;

	if (!commit && event != XACT_EVENT_ABORT)
		return;
	npending = 0;
	og_clear_end(commit);
	og_event_end(commit);
	og_storm_end(commit);
}

/*
 * A sub-transaction was rolled back: ids of sub-transactions grow, so
 * whatever carries its id or a later one was done inside it.
 */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId id,
					  SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (npending > 0 && pending[npending - 1].subxact >= id)
		npending--;
	og_clear_subabort(id);
	og_event_subabort(id);
	og_storm_subabort(id);
}

/*
 * og_incident_begin_tick
 *		Forgets what was collected and not flushed.
 */
void
og_incident_begin_tick(void)
{
	if (pending_context == NULL)
	{
		pending_context = AllocSetContextCreate(TopMemoryContext,
												"order_guard incidents",
												ALLOCSET_DEFAULT_SIZES);
		RegisterXactCallback(at_transaction_end, NULL);
		RegisterSubXactCallback(at_subtransaction_end, NULL);
	}
	MemoryContextReset(pending_context);
	pending = NULL;
	npending = max_pending = 0;
}

/*
 * Room for one more report, zeroed but for its identity.
 */
static OgPending *
add_pending(int watch, const char *kind, const unsigned char *hash)
{
	OgPending  *p;

	if (pending_context == NULL)
		og_incident_begin_tick();
	if (npending == max_pending)
	{
		max_pending = Max(64, max_pending * 2);
		if (pending == NULL)
			pending = MemoryContextAlloc(pending_context,
										 max_pending * sizeof(OgPending));
		else
			pending = repalloc_huge(pending,
									(Size) max_pending * sizeof(OgPending));
	}
	p = &pending[npending];
	memset(p, 0, sizeof(*p));
	p->incident.watch = watch;
	p->incident.kind = MemoryContextStrdup(pending_context, kind);
	memcpy(p->incident.hash, hash, 16);
	p->subxact = GetCurrentSubTransactionId();
	p->seq = npending++;
	return p;
}

static const char *
copy_text(const char *text)
{
	return text ? MemoryContextStrdup(pending_context, text) : NULL;
}

/*
 * og_incident_open
 *		Collects a report; og_incident_flush() writes it.
 */
void
og_incident_open(const OgIncident *incident)
{
	OgPending  *p = add_pending(incident->watch, incident->kind,
								incident->hash);
	OgIncident *copy = &p->incident;
	char	   *summary;

	copy->relation = incident->relation;
	copy->severity = copy_text(incident->severity);
	copy->status = copy_text(incident->status);
	copy->amount = copy_text(incident->amount);
	copy->count = Max(incident->count, 1);
	copy->since = incident->since;
	copy->may_storm = incident->may_storm;
	if (npending > OG_MAX_ITEMISED && incident->may_storm)
	{
		p->slim = true;
		return;
	}
	summary = MemoryContextStrdup(pending_context, incident->summary);
	og_incident_sanitise(summary);
	copy->summary = summary;
	copy->key = copy_text(incident->key);
	copy->customer = copy_text(incident->customer);
	copy->evidence = copy_text(incident->evidence);
}

/*
 * og_pending_clear
 *		What was reported before is no longer true.
 */
void
og_pending_clear(int watch, const char *kind, const unsigned char *hash)
{
	if (npending > 0)
		add_pending(watch, kind, hash)->clear = true;
}

/*
 * og_incident_storm_hash
 *		Identity of the storm of a kind, within its watch.
 */
void
og_incident_storm_hash(const char *kind, unsigned char *hash)
{
	uint64		half[2];
	int			length = strlen(kind);

	half[0] = hash_bytes_extended((const unsigned char *) kind, length, 1);
	half[1] = hash_bytes_extended((const unsigned char *) kind, length, 2);
	memcpy(hash, half, 16);
}

static int
compare_group(const OgIncident *a, const OgIncident *b)
{
	if (a->watch != b->watch)
		return a->watch < b->watch ? -1 : 1;
	return strcmp(a->kind, b->kind);
}

static int
compare_seq(const OgPending *a, const OgPending *b)
{
	return a->seq < b->seq ? -1 : (a->seq > b->seq ? 1 : 0);
}

static int
by_identity(const void *a, const void *b)
{
	const OgPending *left = *(OgPending *const *) a;
	const OgPending *right = *(OgPending *const *) b;
	int			result = compare_group(&left->incident, &right->incident);

	if (result == 0)
		result = memcmp(left->incident.hash, right->incident.hash, 16);
	return result ? result : compare_seq(left, right);
}

static int
by_report(const void *a, const void *b)
{
	const OgPending *left = *(OgPending *const *) a;
	const OgPending *right = *(OgPending *const *) b;
	int			result = compare_group(&left->incident, &right->incident);

	return result ? result : compare_seq(left, right);
}

/*
 * What is left when only the last call for each identity counts, sorted by
 * watch, kind and order of report.
 */
static OgPending **
last_reports(int *n)
{
	OgPending **all;
	int			kept = 0;

	all = palloc_extended(npending * sizeof(OgPending *), MCXT_ALLOC_HUGE);
	for (int i = 0; i < npending; i++)
		all[i] = &pending[i];
	qsort(all, npending, sizeof(OgPending *), by_identity);
	for (int i = 0; i < npending; i++)
	{
		if (i + 1 < npending &&
			compare_group(&all[i]->incident, &all[i + 1]->incident) == 0 &&
			memcmp(all[i]->incident.hash, all[i + 1]->incident.hash, 16) == 0)
			continue;
		if (!all[i]->clear)
			all[kept++] = all[i];
	}
	qsort(all, kept, sizeof(OgPending *), by_report);
	*n = kept;
	return all;
}

static void
append_field(StringInfo buf, const char *name, const char *value)
{
	if (value == NULL)
		return;
	appendStringInfo(buf, ",\"%s\":", name);
	escape_json(buf, value);
}

static void
append_record(StringInfo buf, int n, const OgIncident *incident)
{
	appendStringInfo(buf, "{\"n\":%d,\"watch\":%d,\"relation\":\"%u\","
					 "\"count\":" INT64_FORMAT ",\"hash\":\"",
					 n, incident->watch, incident->relation,
					 incident->count);
	for (int i = 0; i < 16; i++)
		appendStringInfo(buf, "%02x", incident->hash[i]);
	appendStringInfoChar(buf, '"');
	append_field(buf, "kind", incident->kind);
	append_field(buf, "key", incident->key);
	append_field(buf, "status", incident->status);
	append_field(buf, "severity", incident->severity);
	append_field(buf, "amount", incident->amount);
	append_field(buf, "customer", incident->customer);
	append_field(buf, "since", timestamptz_to_str(incident->since));
	append_field(buf, "summary", incident->summary);
	if (incident->evidence)
		appendStringInfo(buf, ",\"evidence\":%s", incident->evidence);
	appendStringInfoChar(buf, '}');
}

/*
 * The fresh ones of a chunk as an array of JSON objects; their number.
 */
static int
fresh_records(OgPending **chunk, int n, Datum *records)
{
	StringInfoData buf;
	int			found = 0;

	initStringInfo(&buf);
	for (int i = 0; i < n; i++)
	{
		if (chunk[i]->state != OG_PENDING_FRESH)
			continue;
		appendStringInfoChar(&buf, found++ == 0 ? '[' : ',');
		append_record(&buf, i, &chunk[i]->incident);
	}
	appendStringInfoChar(&buf, ']');
	*records = found == 0 ? (Datum) 0 :
		DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data));
	pfree(buf.data);
	return found;
}

/*
 * Which of these are open already, and which did a person close since the
 * order entered its present state?  Is any open?
 */
static bool
classify(OgPending **chunk, Datum records)
{
	bool		any = false;
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {JSONBOID};

	og_incident_plan(&plan,
					 "SELECT n.n, l.state = 'open' FROM " RECORDS
					 " CROSS JOIN LATERAL (SELECT i.state, i.status, "
					 "i.closed_at FROM order_guard.incident i "
					 "WHERE i.watch = n.watch AND i.hash = n.hash "
					 "AND i.kind = n.kind ORDER BY i.id DESC LIMIT 1) l "
					 "WHERE l.state = 'open' OR (l.state = 'resolved' "
					 "AND l.closed_at >= n.since "
					 "AND l.status IS NOT DISTINCT FROM n.status)",
					 1, types);
	SPI_execute_plan(plan, &records, NULL, false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int			n = atoi(og_incident_column(i, 1));

		bool		open = og_incident_column(i, 2)[0] == 't';

		chunk[n]->state = open ? OG_PENDING_KNOWN : OG_PENDING_SUPPRESSED;
		any |= open;
	}
	SPI_freetuptable(SPI_tuptable);
	return any;
}

/*
 * Brings what is open up to date, but touches a row only if that tells
 * something new, or to say now and then that it was seen: a summary grows
 * older with each tick.  What the gateway said stays, as long as the order
 * is in the status about which it was asked.
 */
static void
refresh(Datum records)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {JSONBOID};

	og_incident_plan(&plan,
					 "WITH held AS (SELECT i.id, n.*, s.same, s.ask_person, "
					 "order_guard._worse(n.severity, CASE WHEN s.ask_person "
					 "IS NULL THEN i.raised ELSE 'critical' END) AS at_least "
					 "FROM " RECORDS
					 " JOIN order_guard.incident i ON i.watch = n.watch "
					 "AND i.kind = n.kind AND i.hash = n.hash "
					 "AND i.state = 'open' CROSS JOIN LATERAL (SELECT f.same, "
					 "CASE WHEN f.same THEN i.ask_person END FROM (SELECT "
					 "i.status IS NOT DISTINCT FROM n.status) f (same)) s "
					 "(same, ask_person) "
					 "WHERE n.summary IS NOT NULL "
					 "AND ((i.count, i.amount, i.status, i.severity) "
					 "IS DISTINCT FROM (n.count, n.amount, n.status, "
					 "order_guard._worse(n.severity, CASE WHEN s.ask_person "
					 "IS NULL THEN i.raised ELSE 'critical' END)) "
					 "OR i.last_seen_at < "
					 "clock_timestamp() - interval '10 s') "
					 "FOR UPDATE OF i SKIP LOCKED) "
					 "UPDATE order_guard.incident i SET count = held.count, "
					 "amount = held.amount, summary = held.summary || "
					 "coalesce('; ' || held.ask_person, ''), "
					 "status = held.status, "
					 "severity = held.at_least, "
					 "ask_person = held.ask_person, "
					 "verdict = CASE WHEN held.same THEN i.verdict END, "
					 "lease = CASE WHEN held.same THEN i.lease END, "
					 "asks = CASE WHEN held.same THEN i.asks ELSE 0 END, "
					 "evidence = order_guard._keep_answers(i.evidence, "
					 "coalesce(held.evidence, '{}')), "
					 "last_seen_at = clock_timestamp() "
					 "FROM held WHERE i.id = held.id", 1, types);
	SPI_execute_plan(plan, &records, NULL, false, 0);
}

static void
insert_fresh(Datum records)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {JSONBOID};

	og_incident_plan(&plan,
					 "INSERT INTO order_guard.incident AS i (kind, watch, "
					 "relation, relation_name, key, hash, status, severity, "
					 "amount, customer, count, summary, evidence) "
					 "SELECT n.kind, n.watch, n.relation, "
					 "order_guard._relation_name(n.relation), n.key, n.hash, "
					 "n.status, coalesce(n.severity, 'warning'), n.amount, "
					 "n.customer, n.count, coalesce(n.summary, n.kind), "
					 "coalesce(n.evidence, '{}') FROM " RECORDS
					 " ORDER BY n.n ON CONFLICT (watch, kind, hash) "
					 "WHERE state = 'open' DO NOTHING RETURNING "
					 OG_EVENT_COLUMNS("i"), 1, types);
	SPI_execute_plan(plan, &records, NULL, false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
		og_event_add("opened", i);
	SPI_freetuptable(SPI_tuptable);
}

static void
write_pending(void)
{
	int			n;
	OgPending **all = last_reports(&n);
	Datum		records;

	for (int i = 0; i < n; i += OG_CHUNK)
	{
		int			size = Min(OG_CHUNK, n - i);

		for (int k = i; k < i + size; k++)
			og_clear_forget(&all[k]->incident);
		if (fresh_records(&all[i], size, &records) > 0 &&
			classify(&all[i], records))
			refresh(records);
		CHECK_FOR_INTERRUPTS();
	}
	og_storm_fold(all, n);
	for (int i = 0; i < n; i += OG_CHUNK)
		if (fresh_records(&all[i], Min(OG_CHUNK, n - i), &records) > 0)
			insert_fresh(records);
	pfree(all);
}

/*
 * og_incident_flush
 *		Writes all that was collected.
 */
void
og_incident_flush(int *opened, int *cleared)
{
	if (pending_context == NULL)
		og_incident_begin_tick();
	if (npending > 0)
		write_pending();
	npending = 0;
	og_clear_retry();
	og_storm_write();
	og_event_count(opened, cleared);
}
