/*
 * detect_coverage.c
 *		Gaps in what is witnessed: triggers missing or disabled, rows loaded
 *		past them, a journal that was lost or full.
 *
 * Runs in the worker.  A gap is an open incident while it lasts and until a
 * sweep has gone over the table.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "detect.h"
#include "handler.h"
#include "incident.h"
#include "journal.h"
#include "loss.h"
#include "open.h"
#include "query.h"
#include "tracker.h"

/* What is amiss with the triggers, after what can be repaired was. */
static char *
check_triggers(const OgWatch *watch)
{
	static OgPlan repair = {"SELECT order_guard._repair_triggers($1)", NULL};
	static OgPlan check = {"SELECT order_guard._check_triggers($1)", NULL};
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(watch->id)};

	og_query_run(&check, 1, types, values, NULL);
	if (SPI_processed == 0 || og_query_null(0, 0))
		return NULL;
	og_query_run(&repair, 1, types, values, NULL);
	og_query_run(&check, 1, types, values, NULL);
	return SPI_processed == 0 ? NULL : og_query_text(0, 0);
}

static void
save_coverage(const OgWatch *watch, const char *gap)
{
	static OgPlan plan = {
		"UPDATE order_guard.watch_state SET coverage = $2 "
		OG_WATCH_STATE_FREE, NULL
	};
	Oid			types[] = {INT4OID, TEXTOID};
	Datum		values[] = {Int32GetDatum(watch->id), (Datum) 0};

	if (gap)
		values[1] = CStringGetTextDatum(gap);
	og_query_run(&plan, 2, types, values, gap ? "  " : " n");
}

/* Is what the sweep is for a gap, and not just a beginning? */
static const char *
gap_of_sweep(const OgWatch *watch)
{
	if (watch->sweep == NULL || strcmp(watch->sweep, "watch") == 0 ||
		strcmp(watch->sweep, "changed") == 0 ||
		strcmp(watch->sweep, "key changed") == 0 ||
		strcmp(watch->sweep, "bulk") == 0 ||
		strcmp(watch->sweep, "key too long") == 0)
		return NULL;
	return watch->sweep;
}

static void
report(const OgWatch *watch, const char *gap)
{
	OgIncident	incident = {.kind = "coverage",.severity = "warning",.count = 1};
	const char *names[] = {"gap"};

	incident.watch = watch->id;
	incident.relation = watch->relation;
	og_detect_hash(incident.hash, "coverage", watch->id);
	incident.since = GetCurrentTimestamp();
	incident.evidence = og_detect_json(names, &gap, 1);
	if (OidIsValid(watch->relation))
		incident.summary = psprintf("work on %s may have gone unseen: %s",
									watch->name, gap);
	else
		incident.summary = psprintf("the watched table %s was dropped; "
									"order_guard.unwatch(%u) forgets it",
									watch->name, watch->listed);
	og_incident_open(&incident);
}

bool
og_detect_coverage_open(const OgWatch *watch)
{
	unsigned char hash[16];

	og_detect_hash(hash, "coverage", watch->id);
	return og_open_has(watch->id, "coverage", hash);
}

/* What to call the table when it is gone. */
static void
remember_name(const OgWatch *watch)
{
	static OgPlan plan = {
		"UPDATE order_guard.watch_state SET name = $2 WHERE watch = $1 "
		"AND name IS DISTINCT FROM $2", NULL
	};
	Oid			types[] = {INT4OID, TEXTOID};
	Datum		values[] = {Int32GetDatum(watch->id),
	CStringGetTextDatum(watch->name)};

	og_query_run(&plan, 2, types, values, NULL);
}

/* The table was dropped: nobody can move its orders any more. */
static const char *
forget_orders(const OgWatch *watch)
{
	static const char *const gap = "the table was dropped";
	ListCell   *cell;

	og_open_clear_watch(watch->id, "coverage", gap);
	foreach(cell, og_tracker_all(watch->id))
		og_tracker_remove(lfirst(cell));
	return gap;
}

/* The leaves of each watch, as they were at the last look. */
typedef struct Leaves
{
	int			watch;			/* hash key */
	List	   *oids;			/* in TopMemoryContext */
} Leaves;

static Leaves *
remembered_leaves(int watch, bool *found)
{
	static HTAB *leaves = NULL;

	if (leaves == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(int);
		control.entrysize = sizeof(Leaves);
		control.hcxt = TopMemoryContext;
		leaves = hash_create("order_guard leaves", 16, &control,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	return hash_search(leaves, &watch, HASH_ENTER, found);
}

/* A partition may come with orders in it, which no trigger has seen. */
static void
notice_partitions(const OgWatch *watch)
{
	bool		found;
	Leaves	   *known = remembered_leaves(watch->id, &found);
	List	   *now = find_all_inheritors(watch->relation, NoLock, NULL);
	MemoryContext context;

	if (found && list_difference_oid(now, known->oids) != NIL)
		og_watch_request_sweep(watch->id, "changed");
	if (found)
		list_free(known->oids);
	context = MemoryContextSwitchTo(TopMemoryContext);
	known->oids = list_copy(now);
	MemoryContextSwitchTo(context);
}

/*
 * og_detect_coverage
 *		Compares what should see a watch's table with what does.
 */
void
og_detect_coverage(OgWatch *watch)
{
	unsigned char hash[16];
	const char *gap = NULL;

	if (!OidIsValid(watch->relation))
		gap = forget_orders(watch);
	else
		remember_name(watch);
	if (gap == NULL && watch->kind == RELKIND_PARTITIONED_TABLE)
		notice_partitions(watch);
	if (gap == NULL && !og_journal_ready())
		gap = "there is no journal";
	if (gap == NULL)
		gap = check_triggers(watch);
	if (gap && (watch->coverage == NULL ||
				strcmp(gap, watch->coverage) != 0))
		save_coverage(watch, gap);
	if (gap == NULL && watch->coverage != NULL)
	{
		/* It is closed; now look what came through meanwhile. */
		save_coverage(watch, NULL);
		watch->coverage = NULL;
		og_loss_note_coverage(watch->id);
		og_watch_request_sweep(watch->id, "coverage was incomplete");
		return;
	}
	if (gap == NULL)
		gap = gap_of_sweep(watch);
	if (gap == NULL && og_tracker_overflowed())
		gap = "order_guard.max_tracked is reached";
	og_detect_hash(hash, "coverage", watch->id);
	if (gap)
		report(watch, gap);
	else
		og_open_clear(watch->id, "coverage", hash, "complete again");
}

/*
 * og_detect_recovery
 *		A watch on which an error was noted, and which has been read without
 *		one in this tick.
 */
void
og_detect_recovery(OgWatch *watch)
{
	static OgPlan plan = {
		"UPDATE order_guard.watch_state SET last_error = NULL "
		OG_WATCH_STATE_FREE, NULL
	};
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(watch->id)};

	if (og_tracker_broken(watch->id) == 0 &&
		og_handler_problem(watch) == NULL)
		og_query_run(&plan, 1, types, values, NULL);
}
