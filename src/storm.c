/*
 * storm.c
 *		Many incidents of one kind and watch at the same time are one: a storm.
 *
 * Runs in the worker only.  A storm is a row of order_guard.incident of kind
 * storm; its evidence holds the kind, the first keys and the first summary.
 * Which orders belong to it is known to this process alone, so that a
 * detector may report an order at every tick and it is counted once; the
 * set is bounded by order_guard.max_tracked.
 *
 * While a storm rages (an order joined it within the last ten naptimes) it
 * takes every further order of its kind; later ones are incidents of their
 * own again, unless they come in such numbers that they would make a storm.
 * A storm is over when no order has joined, or was reported, for ten
 * naptimes, and, for kind stalled, at most a tenth of storm_threshold is left
 * of it; the detector reports those anew.
 *
 * After a rollback or a restart the members are unknown.  Detectors of
 * states (stalled, uncommitted, prepared) then report all their orders
 * again, and the count is what is reported, but never less than it was;
 * those of events do not, and their reports are added to it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "incident_private.h"
#include "settings.h"

#define OG_STORM_KEYS 10

typedef struct Storm
{
	int64		id;
	int			watch;
	char		kind[NAMEDATALEN];	/* of its members */
	const char *severity;		/* the worst of them */
	int64		count;			/* orders, as far as known here */
	int64		written;		/* count when the row was written last */
	Numeric		amount;			/* sum; NULL: none has one */
	TimestampTz joined;			/* when an order was last added */
	TimestampTz reported;		/* when an order was last reported */
	TimestampTz seen;			/* when the row was written last */
	TimestampTz look;			/* not to be ended before */
	bool		announced;		/* its opening has been put on the list */
	bool		over;			/* not open any more */
} Storm;

typedef struct Member
{
	int64		storm;
	unsigned char hash[16];
} Member;

static MemoryContext storm_context = NULL;
static List *storms = NIL;
static HTAB *members = NULL;
static bool loaded = false;
/* the latest sub-transaction that changed any of the above; 0: committed */
static SubTransactionId touched = InvalidSubTransactionId;

static void
touch(void)
{
	touched = Max(touched, GetCurrentSubTransactionId());
}

/*
 * og_storm_end
 *		The transaction ends: if it is rolled back, what it changed here is
 *		not true any more.  Cannot fail.
 */
void
og_storm_end(bool commit)
{
	if (!commit && touched != InvalidSubTransactionId)
		loaded = false;
	touched = InvalidSubTransactionId;
}

/*
 * og_storm_subabort
 *		The same for a sub-transaction and all within it.
 */
void
og_storm_subabort(SubTransactionId subxact)
{
	if (touched >= subxact)
		loaded = false;
}

static TimestampTz
ten_naptimes_after(TimestampTz moment)
{
	return moment + (int64) og_naptime * 10 * 1000;
}

/*
 * Are all orders of the kind reported again by a detector that starts anew?
 */
static bool
is_state(const char *kind)
{
	return strcmp(kind, "stalled") == 0 ||
		strcmp(kind, "uncommitted") == 0 ||
		strcmp(kind, "prepared") == 0;
}

static Storm *
remember(int64 id, int watch, const char *kind)
{
	MemoryContext old = MemoryContextSwitchTo(storm_context);
	Storm	   *storm = palloc0(sizeof(Storm));

	storm->id = id;
	storm->watch = watch;
	strlcpy(storm->kind, kind, sizeof(storm->kind));
	storm->severity = "info";
	storm->joined = storm->reported = storm->seen = GetCurrentTimestamp();
	storms = lappend(storms, storm);
	MemoryContextSwitchTo(old);
	return storm;
}

static void
create_members(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(Member);
	control.entrysize = sizeof(Member);
	control.hcxt = storm_context;
	members = hash_create("order_guard storm members", 1024, &control,
						  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static Numeric
numeric_of(const char *text)
{
	return DatumGetNumeric(DirectFunctionCall3(numeric_in,
											   CStringGetDatum(text),
											   ObjectIdGetDatum(InvalidOid),
											   Int32GetDatum(-1)));
}

/*
 * Starts from the rows of the storms that are open.
 */
static void
load(void)
{
	static SPIPlanPtr plan = NULL;

	if (storm_context == NULL)
		storm_context = AllocSetContextCreate(TopMemoryContext,
											  "order_guard storms",
											  ALLOCSET_DEFAULT_SIZES);
	storms = NIL;
	members = NULL;
	MemoryContextReset(storm_context);
	create_members();
	og_incident_plan(&plan,
					 "SELECT i.id, i.watch, i.evidence ->> 'of', i.count, "
					 "i.amount FROM order_guard.incident i "
					 "WHERE i.kind = 'storm' AND i.state = 'open'", 0, NULL);
	SPI_execute_plan(plan, NULL, NULL, false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		const char *kind = og_incident_column(i, 3);
		char	   *amount = og_incident_column(i, 5);
		MemoryContext old;
		Storm	   *storm;

		storm = remember(strtoll(og_incident_column(i, 1), NULL, 10),
						 atoi(og_incident_column(i, 2)), kind ? kind : "");
		storm->announced = true;
		storm->written = strtoll(og_incident_column(i, 4), NULL, 10);
		if (is_state(storm->kind))
			continue;
		storm->count = storm->written;
		old = MemoryContextSwitchTo(storm_context);
		storm->amount = amount ? numeric_of(amount) : NULL;
		MemoryContextSwitchTo(old);
	}
	SPI_freetuptable(SPI_tuptable);
	loaded = true;
}

static Datum
storm_ids(void)
{
	Datum	   *ids = palloc(list_length(storms) * sizeof(Datum));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, storms)
		ids[n++] = Int64GetDatum(((Storm *) lfirst(cell))->id);
	return PointerGetDatum(construct_array(ids, n, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static void
drop_over(void)
{
	ListCell   *cell;

	foreach(cell, storms)
	{
		if (!((Storm *) lfirst(cell))->over)
			continue;
		touch();
		storms = foreach_delete_current(storms, cell);
	}
	/* nobody's members: give the memory back */
	if (storms == NIL && hash_get_num_entries(members) > 0)
		loaded = false;
}

/*
 * Others may have closed storms meanwhile.
 */
static void
synchronise(void)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {INT8ARRAYOID};
	Datum		ids;
	ListCell   *cell;

	if (!loaded)
		load();
	if (storms == NIL)
		return;
	ids = storm_ids();
	og_incident_plan(&plan,
					 "SELECT i.id FROM order_guard.incident i "
					 "WHERE i.id = ANY ($1) AND i.state = 'open'", 1, types);
	SPI_execute_plan(plan, &ids, NULL, false, 0);
	foreach(cell, storms)
	{
		Storm	   *storm = lfirst(cell);

		storm->over = true;
		for (uint64 i = 0; i < SPI_processed; i++)
			if (strtoll(og_incident_column(i, 1), NULL, 10) == storm->id)
				storm->over = false;
	}
	SPI_freetuptable(SPI_tuptable);
	drop_over();
	if (!loaded)
		load();
}

static Storm *
find_storm(int watch, const char *kind)
{
	ListCell   *cell;

	foreach(cell, storms)
	{
		Storm	   *storm = lfirst(cell);

		if (storm->watch == watch && strcmp(storm->kind, kind) == 0)
			return storm;
	}
	return NULL;
}

/*
 * The first keys of a group, as evidence.
 */
static char *
first_evidence(OgPending **group, int n, const char *kind)
{
	StringInfoData buf;
	const char *first = NULL;
	int			keys = 0;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "{\"of\":");
	escape_json(&buf, kind);
	appendStringInfoString(&buf, ",\"keys\":[");
	for (int i = 0; i < n && keys < OG_STORM_KEYS; i++)
	{
		const OgIncident *incident = &group[i]->incident;

		if (group[i]->state != OG_PENDING_FRESH || !incident->may_storm)
			continue;
		if (first == NULL)
			first = incident->summary;
		if (incident->key == NULL)
			continue;
		if (keys++ > 0)
			appendStringInfoChar(&buf, ',');
		escape_json(&buf, incident->key);
	}
	appendStringInfoChar(&buf, ']');
	if (first)
	{
		appendStringInfoString(&buf, ",\"first\":");
		escape_json(&buf, first);
	}
	appendStringInfoChar(&buf, '}');
	return buf.data;
}

/*
 * Inserts the row of a new storm; write_storm() completes it.
 */
static Storm *
open_storm(OgPending **group, int n)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {INT4OID, OIDOID, UUIDOID, JSONBOID};
	const OgIncident *first = &group[0]->incident;
	char	   *evidence = first_evidence(group, n, first->kind);
	pg_uuid_t	hash;
	Datum		args[4];
	Storm	   *storm;

	og_incident_storm_hash(first->kind, hash.data);
	args[0] = Int32GetDatum(first->watch);
	args[1] = ObjectIdGetDatum(first->relation);
	args[2] = UUIDPGetDatum(&hash);
	args[3] = DirectFunctionCall1(jsonb_in, CStringGetDatum(evidence));
	og_incident_plan(&plan,
					 "INSERT INTO order_guard.incident (kind, watch, "
					 "relation, relation_name, hash, severity, count, "
					 "summary, evidence) VALUES ('storm', $1, $2, "
					 "order_guard._relation_name($2), $3, 'info', 0, "
					 "'', $4) "
					 "RETURNING id", 4, types);
	SPI_execute_plan(plan, args, NULL, false, 0);
	storm = remember(strtoll(og_incident_column(0, 1), NULL, 10),
					 first->watch, first->kind);
	SPI_freetuptable(SPI_tuptable);
	return storm;
}

static const char *
worse(const char *a, const char *b)
{
	if (strcmp(a, "critical") == 0 || strcmp(b, "info") == 0)
		return a;
	if (strcmp(b, "critical") == 0)
		return "critical";
	return "warning";
}

/*
 * Is the order counted in this storm already?  Notes it if not.
 */
static bool
is_member(Storm *storm, const unsigned char *hash, bool join)
{
	Member		member;
	bool		found;

	memset(&member, 0, sizeof(member));
	member.storm = storm->id;
	memcpy(member.hash, hash, 16);
	if (!join || hash_get_num_entries(members) >= og_max_tracked)
		return hash_search(members, &member, HASH_FIND, NULL) != NULL;
	hash_search(members, &member, HASH_ENTER, &found);
	return found;
}

static void
join_storm(Storm *storm, const OgIncident *incident)
{
	MemoryContext old;
	Datum		sum;

	if (is_member(storm, incident->hash, true))
		return;
	storm->joined = GetCurrentTimestamp();
	storm->count += incident->count;
	storm->severity = worse(storm->severity, incident->severity ?
							incident->severity : "warning");
	if (incident->amount == NULL)
		return;
	sum = NumericGetDatum(numeric_of(incident->amount));
	old = MemoryContextSwitchTo(storm_context);
	if (storm->amount)
		sum = DirectFunctionCall2(numeric_add, NumericGetDatum(storm->amount),
								  sum);
	else
		sum = NumericGetDatum(DatumGetNumericCopy(sum));
	MemoryContextSwitchTo(old);
	if (storm->amount)
		pfree(storm->amount);
	storm->amount = DatumGetNumeric(sum);
}

/*
 * Reports again of members are nothing new; the number of the others.
 */
static int
count_fresh(Storm *storm, OgPending **group, int n, bool *slim)
{
	int			fresh = 0;

	*slim = false;
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (group[i]->state != OG_PENDING_FRESH ||
			!group[i]->incident.may_storm)
			continue;
		if (storm && is_member(storm, group[i]->incident.hash, false))
		{
			group[i]->state = OG_PENDING_FOLDED;
			storm->reported = GetCurrentTimestamp();
			continue;
		}
		*slim |= group[i]->slim;
		fresh++;
	}
	return fresh;
}

static void
fold_group(OgPending **group, int n)
{
	Storm	   *storm = find_storm(group[0]->incident.watch,
								   group[0]->incident.kind);
	bool		slim;
	int			fresh = count_fresh(storm, group, n, &slim);
	bool		rages = storm != NULL &&
		GetCurrentTimestamp() < ten_naptimes_after(storm->joined);

	if (fresh == 0 || (fresh <= og_storm_threshold && !slim && !rages))
		return;
	touch();
	if (storm == NULL)
		storm = open_storm(group, n);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (group[i]->state != OG_PENDING_FRESH ||
			!group[i]->incident.may_storm)
			continue;
		join_storm(storm, &group[i]->incident);
		group[i]->state = OG_PENDING_FOLDED;
	}
	storm->reported = storm->joined;
}

/*
 * og_storm_fold
 *		Marks what belongs to a storm, opening storms as needed.
 */
void
og_storm_fold(OgPending **pending, int n)
{
	int			start = 0;

	synchronise();
	for (int i = 1; i <= n; i++)
	{
		if (i < n &&
			pending[i]->incident.watch == pending[start]->incident.watch &&
			strcmp(pending[i]->incident.kind,
				   pending[start]->incident.kind) == 0)
			continue;
		fold_group(&pending[start], i - start);
		start = i;
	}
}

#define WRITE_STORM \
	"WITH held AS (SELECT i.id, greatest(i.count, $2) AS count, " \
	"CASE WHEN $2 >= i.count THEN $3 ELSE i.amount END AS amount, " \
	"(SELECT string_agg(order_guard._printable(left(k.key, 40)), ', ' " \
	"ORDER BY k.n) FROM jsonb_array_elements_text(i.evidence -> 'keys') " \
	"WITH ORDINALITY AS k (key, n) WHERE k.n <= 3) AS keys " \
	"FROM order_guard.incident i WHERE i.id = $1 " \
	"FOR UPDATE OF i SKIP LOCKED) " \
	"UPDATE order_guard.incident i SET count = held.count, " \
	"amount = held.amount, last_seen_at = clock_timestamp(), " \
	"severity = CASE WHEN 'critical' IN (i.severity, $5) THEN 'critical' " \
	"WHEN 'warning' IN (i.severity, $5) THEN 'warning' ELSE 'info' END, " \
	"summary = order_guard._storm_summary(i.relation_name, $4, held.count, " \
	"held.amount, held.keys) " \
	"FROM held WHERE i.id = held.id RETURNING " OG_EVENT_COLUMNS("i")

/*
 * Brings the row up to date; a busy one is left to the next flush.
 */
static void
write_storm(Storm *storm)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {INT8OID, INT8OID, NUMERICOID, TEXTOID,
	TEXTOID};
	Datum		args[] = {Int64GetDatum(storm->id),
		Int64GetDatum(storm->count), NumericGetDatum(storm->amount),
	CStringGetTextDatum(storm->kind), CStringGetTextDatum(storm->severity)};
	char		nulls[] = "     ";

	if (storm->amount == NULL)
		nulls[2] = 'n';
	touch();
	og_incident_plan(&plan, WRITE_STORM, 5, types);
	SPI_execute_plan(plan, args, nulls, false, 0);
	if (SPI_processed > 0)
	{
		storm->written = Max(storm->written, storm->count);
		storm->seen = GetCurrentTimestamp();
		if (!storm->announced)
			og_event_add("opened", 0);
		storm->announced = true;
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * Ends a storm that is over; true if it did.
 */
static bool
end_storm(Storm *storm)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {INT8OID, TEXTOID, INT4OID};
	Datum		args[] = {Int64GetDatum(storm->id),
		CStringGetTextDatum(storm->kind),
	Int32GetDatum(Max(og_storm_threshold / 10, 1))};
	bool		ended;

	og_incident_plan(&plan,
					 "WITH held AS (SELECT i.id FROM order_guard.incident i "
					 "WHERE i.id = $1 AND i.state = 'open' AND ($2 <> "
					 "'stalled' OR $3 >= (SELECT count(*) FROM (SELECT FROM "
					 "order_guard.tracked t WHERE t.watch = i.watch "
					 "AND t.deadline < clock_timestamp() AND NOT t.backlog "
					 "AND NOT EXISTS (SELECT FROM order_guard.incident o "
					 "WHERE o.watch = t.watch AND o.hash = t.hash "
					 "AND o.kind = 'stalled' AND o.state = 'open') "
					 "LIMIT $3 + 1) AS late)) "
					 "FOR UPDATE OF i SKIP LOCKED) "
					 "UPDATE order_guard.incident i SET state = 'cleared', "
					 "closed_at = clock_timestamp(), resolution = 'it ebbed' "
					 "FROM held WHERE i.id = held.id RETURNING "
					 OG_EVENT_COLUMNS("i"), 3, types);
	SPI_execute_plan(plan, args, NULL, false, 0);
	ended = SPI_processed > 0;
	if (ended)
		og_event_add("cleared", 0);
	SPI_freetuptable(SPI_tuptable);
	return ended;
}

/*
 * og_storm_write
 *		Brings rows up to date and ends storms that are over.
 */
void
og_storm_write(void)
{
	ListCell   *cell;

	synchronise();
	foreach(cell, storms)
	{
		Storm	   *storm = lfirst(cell);
		TimestampTz now = GetCurrentTimestamp();

		if (storm->count > storm->written ||
			(storm->reported > storm->seen &&
			 TimestampDifferenceExceeds(storm->seen, now, 10000)))
			write_storm(storm);
		if (now < ten_naptimes_after(storm->reported) || now < storm->look)
			continue;
		/* looking for overdue orders reads a whole table: not every time */
		storm->look = ten_naptimes_after(now);
		storm->over = end_storm(storm);
	}
	drop_over();
}
