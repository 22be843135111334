/*
 * captured.c
 *		What a watch's trigger is to note: its argument, understood.
 *
 * Runs in every backend.  Roles of columns: k key, s status, t token, a
 * amount, c customer, n since, w one on which a status expression depends.
 *
 * A column is found by its name, so a partition may number its columns as it
 * likes; if the name is gone (renamed a moment ago) by its number, except in a
 * partition.  What has been understood is kept until the relation changes.
 */
#include "postgres.h"

#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "captured.h"
#include "columns.h"
#include "journal.h"

static HTAB *captured_triggers = NULL;
static HTAB *changes = NULL;

static void
forget_relation(Datum arg, Oid relation)
{
	HASH_SEQ_STATUS scan;
	OgChanged  *entry;

	if (OidIsValid(relation))
	{
		entry = hash_search(changes, &relation, HASH_FIND, NULL);
		if (entry)
			entry->times++;
		return;
	}
	hash_seq_init(&scan, changes);
	while ((entry = hash_seq_search(&scan)) != NULL)
		entry->times++;
}

static HTAB *
make_table(const char *name, Size size)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(Oid);
	control.entrysize = size;
	control.hcxt = TopMemoryContext;
	return hash_create(name, 64, &control,
					   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * og_captured_init
 *		In _PG_init, at server start.
 */
void
og_captured_init(void)
{
	captured_triggers = make_table("order_guard captured triggers",
								   sizeof(OgCaptured));
	changes = make_table("order_guard changed relations", sizeof(OgChanged));
	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
}

static int16
find_attribute(Relation relation, const char *name, int attnum)
{
	TupleDesc	desc = RelationGetDescr(relation);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped &&
			namestrcmp(&attribute->attname, name) == 0)
			return i + 1;
	}
	if (relation->rd_rel->relispartition || attnum < 1 ||
		attnum > desc->natts ||
		TupleDescAttr(desc, attnum - 1)->attisdropped)
		return 0;
	return attnum;
}

static void
describe_column(OgColumn *column, Relation relation, char role, int attnum)
{
	static const struct
	{
		char		role;
		uint8		uses;
		uint8		value_role;
	}			roles[] = {
		{'k', OG_IS_NOTED | OG_IS_KEY, OG_VALUE_KEY},
		{'s', OG_IS_NOTED | OG_IS_JUDGED, OG_VALUE_NEW_STATUS},
		{'t', OG_IS_NOTED, OG_VALUE_TOKEN},
		{'a', OG_IS_NOTED, OG_VALUE_AMOUNT},
		{'c', OG_IS_NOTED, OG_VALUE_CUSTOMER},
		{'n', OG_IS_JUDGED, 0},
		{'w', OG_IS_JUDGED, 0}
	};
	Form_pg_attribute attribute =
		TupleDescAttr(RelationGetDescr(relation), attnum - 1);

	column->uses = 0;
	for (int i = 0; i < lengthof(roles); i++)
	{
		if (roles[i].role != role)
			continue;
		column->uses = roles[i].uses;
		column->value_role = roles[i].value_role;
	}
	column->attnum = attnum;
	column->type = attribute->atttypid;
	column->length = attribute->attlen;
	column->byval = attribute->attbyval;
}

/*
 * Does nothing come between the trigger that notes a candidate and the row
 * that could make it another one?
 */
static bool
keeps_candidate(Relation relation)
{
	TriggerDesc *triggers = relation->trigdesc;
	TupleConstr *constraints = RelationGetDescr(relation)->constr;
	int			before = 0;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		int16		type = triggers->triggers[i].tgtype;

		before += TRIGGER_FOR_ROW(type) && TRIGGER_FOR_BEFORE(type) &&
			TRIGGER_FOR_INSERT(type);
	}
	return before == 1 &&
		!(constraints && constraints->has_generated_stored);
}

/*
 * Columns that are noted come first: those on which a status expression
 * depends are the ones that may not find room, and then any change counts.
 */
static void
describe(OgCaptured *entry, Relation relation, const Trigger *trigger)
{
	Oid			id = RelationGetRelid(relation);
	bool		found;
	OgChanged  *changed = hash_search(changes, &id, HASH_ENTER, &found);

	if (!found)
		changed->times = 0;
	entry->relation = id;
	entry->changed = changed;
	entry->as_of = changed->times;
	entry->watch = og_columns_watch(trigger);
	entry->ncolumns = 0;
	entry->every_change = false;
	entry->keeps_candidate = keeps_candidate(relation);
	for (int pass = 0; pass < 2; pass++)
	{
		const char *place = og_columns_first(trigger);
		OgColumnName name;

		while (og_columns_next(&place, &name))
		{
			int16		attnum;

			if ((name.role == 'w') != (pass == 1))
				continue;
			attnum = find_attribute(relation, name.name, name.attnum);
			if (entry->ncolumns == OG_MAX_COLUMNS)
				entry->every_change = true;
			else if (attnum != 0)
				describe_column(&entry->column[entry->ncolumns++], relation,
								name.role, attnum);
		}
	}
}

static bool
is_valid(const OgCaptured *entry)
{
	return entry->changed && entry->as_of == entry->changed->times;
}

/*
 * og_captured_find
 *		What is to be noted by a trigger.  Valid as long as the relation is
 *		locked.
 */
const OgCaptured *
og_captured_find(Relation relation, const Trigger *trigger)
{
	static OgCaptured *recent[16];	/* entries stay where they are */
	OgCaptured **last = &recent[trigger->tgoid % lengthof(recent)];
	bool		found;

	if (*last && (*last)->trigger == trigger->tgoid && is_valid(*last))
		return *last;
	*last = hash_search(captured_triggers, &trigger->tgoid, HASH_ENTER,
						&found);
	if (!found)
		(*last)->changed = NULL;
	if (!is_valid(*last))
		describe(*last, relation, trigger);
	return *last;
}
