/*
 * guard.c
 *		The guard of watches with the option "settle": no transaction commits
 *		a token that has been settled.
 *
 * Runs in every backend.  An AFTER trigger of its own notes each token that a
 * row gets, whatever becomes of capture: neither a full journal nor a limit on
 * rows nor a setting keeps a token from it, and a sub-transaction that is
 * rolled back takes its tokens along.  At the end of PRE_COMMIT and
 * PRE_PREPARE, where an error still is an error, the tokens are announced and
 * looked up (tombstone.c); a token that comes later yet, from somebody else's
 * callback, is looked up when it comes.
 *
 * Without preload there is neither shared memory nor a settler: then each
 * token is looked up in the table when it comes, and that is exact.
 *
 * State is the backend's own, in TopTransactionContext.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "columns.h"
#include "compat.h"
#include "errors.h"
#include "guard.h"

PG_FUNCTION_INFO_V1(og_guard_trigger);

typedef struct Token
{
	uint64		hash;
	Size		text;			/* offset in texts */
	SubTransactionId subxact;
} Token;

/* Of the current transaction. */
static Token *tokens = NULL;
static Size ntokens = 0;
static Size tokens_size = 0;
static char *texts = NULL;
static Size texts_used = 0;
static Size texts_size = 0;
static bool committing = false; /* tokens have been announced */

Oid			og_guard_function = InvalidOid;

static OgGuardSource sources[16];
static uint32 changes = 1;

/* ------------------------------------------------------------------------
 * The transaction's tokens
 * ------------------------------------------------------------------------
 */

static void
refuse(const char *token)
{
	ereport(ERROR,
			(errcode(OG_ERRCODE_TOKEN_SETTLED),
			 errmsg("token \"%s\" has been settled", token),
			 errdetail("Whoever asked was told that no order with this token "
					   "was placed and none ever will be."),
			 errhint("Place the order again under a new token, if it is "
					 "still wanted.")));
}

static void *
grow(void *old, Size *size, Size wanted)
{
	if (wanted <= *size)
		return old;
	*size = Max(wanted * 2, 1024);
	if (old == NULL)
		return MemoryContextAllocHuge(TopTransactionContext, *size);
	return repalloc_huge(old, *size);
}

/*
 * og_guard_add
 *		The transaction places an order with this token.  Throws only if that
 *		can be told now.
 */
void
og_guard_add(const char *token)
{
	Size		length = strlen(token);
	uint64		hash;

	if (length > OG_TOKEN_MAX)
		return;
	if (!og_tombstone_ready())
	{
		if (og_tombstone_recorded(token))
			refuse(token);
		return;
	}
	hash = og_tombstone_hash(token, length);
	if (ntokens > 0 && tokens[ntokens - 1].hash == hash && !committing &&
		tokens[ntokens - 1].subxact == GetCurrentSubTransactionId())
		return;
	tokens = grow(tokens, &tokens_size, (ntokens + 1) * sizeof(Token));
	texts = grow(texts, &texts_size, texts_used + length + 1);
	tokens[ntokens].hash = hash;
	tokens[ntokens].text = texts_used;
	tokens[ntokens].subxact = GetCurrentSubTransactionId();
	memcpy(texts + texts_used, token, length + 1);
	texts_used += length + 1;
	ntokens++;
	if (!committing)
		return;
	og_tombstone_announce(hash);
	if (og_tombstone_covers(hash, token))
		refuse(token);
}

/*
 * og_guard_holds
 *		Is this token among those of the current transaction?
 */
bool
og_guard_holds(const char *token)
{
	for (Size i = 0; i < ntokens; i++)
		if (strcmp(texts + tokens[i].text, token) == 0)
			return true;
	return false;
}

static void
check_tokens(void)
{
	committing = true;
	for (Size i = 0; i < ntokens; i++)
		og_tombstone_announce(tokens[i].hash);
	for (Size i = 0; i < ntokens; i++)
		if (og_tombstone_covers(tokens[i].hash, texts + tokens[i].text))
			refuse(texts + tokens[i].text);
}

/* Nothing but memory of the transaction is to be let go. */
static void
forget(void)
{
	if (committing)
		og_tombstone_retire();
	committing = false;
	tokens = NULL;
	texts = NULL;
	ntokens = tokens_size = texts_used = texts_size = 0;
}

static void
xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (ntokens > 0)
				check_tokens();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			forget();
			break;
		default:
			break;
	}
}

/* Ids only grow: what is not older is this one's or a descendant's. */
static void
subxact_callback(SubXactEvent event, SubTransactionId mine,
				 SubTransactionId parent, void *arg)
{
	Size		kept = 0;

	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	for (Size i = 0; i < ntokens; i++)
		if (tokens[i].subxact < mine)
			tokens[kept++] = tokens[i];
	ntokens = kept;
}

static void
forget_sources(Datum arg, Oid relation)
{
	changes++;
}

/*
 * og_guard_init
 *		In _PG_init, at server start.
 */
void
og_guard_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
	CacheRegisterRelcacheCallback(forget_sources, (Datum) 0);
}

/* ------------------------------------------------------------------------
 * The trigger
 * ------------------------------------------------------------------------
 */

static AttrNumber
find_attribute(Relation relation, const OgColumnName *column)
{
	TupleDesc	desc = RelationGetDescr(relation);

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped &&
			namestrcmp(&TupleDescAttr(desc, i)->attname, column->name) == 0)
			return i + 1;
	/* renamed a moment ago */
	if (!relation->rd_rel->relispartition && column->attnum > 0 &&
		column->attnum <= desc->natts &&
		!TupleDescAttr(desc, column->attnum - 1)->attisdropped)
		return column->attnum;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("token column \"%s\" of table \"%s\" does not exist",
					column->name, RelationGetRelationName(relation)),
			 errhint("Call order_guard.watch() again.")));
}

/* See guard.h. */
void
og_guard_describe(OgGuardSource *source, Relation relation,
				  const Trigger *trigger)
{
	const char *place = og_columns_first(trigger);
	TupleDesc	desc = RelationGetDescr(relation);
	OgColumnName column;

	if (source->trigger == trigger->tgoid && source->as_of == changes &&
		og_tombstone_ready())
		return;
	source->trigger = InvalidOid;
	source->as_of = changes;
	source->attnum = 0;
	while (og_columns_next(&place, &column))
		if (column.role == 't')
			source->attnum = find_attribute(relation, &column);
	/* Looking up the type may take in a change: then once more next time. */
	if (source->attnum > 0)
		source->type = getBaseType(TupleDescAttr(desc, source->attnum -
												 1)->atttypid);
	source->trigger = trigger->tgoid;
}

/*
 * The token of a row as text, in one way only: false if there is none, or one
 * that nobody can settle.
 */
static bool
token_of(const OgGuardSource *source, TupleTableSlot *slot, char *to)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, source->attnum, &isnull);
	text	   *string;
	int			length;

	if (isnull)
		return false;
	switch (source->type)
	{
		case INT2OID:
			snprintf(to, OG_TOKEN_MAX, "%d", (int) DatumGetInt16(value));
			return true;
		case INT4OID:
			snprintf(to, OG_TOKEN_MAX, "%d", DatumGetInt32(value));
			return true;
		case INT8OID:
			snprintf(to, OG_TOKEN_MAX, INT64_FORMAT, DatumGetInt64(value));
			return true;
		case UUIDOID:
			strlcpy(to, DatumGetCString(DirectFunctionCall1(uuid_out, value)),
					OG_TOKEN_MAX);
			return true;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			string = DatumGetTextPP(value);
			length = VARSIZE_ANY_EXHDR(string);
			if (source->type == BPCHAROID)
				length = bpchartruelen(VARDATA_ANY(string), length);
			if (length > OG_TOKEN_MAX)
				return false;
			memcpy(to, VARDATA_ANY(string), length);
			to[length] = '\0';
			return true;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("tokens of type %s cannot be settled",
							format_type_be(source->type)),
					 errhint("Call order_guard.watch() with other "
							 "options.")));
	}
}

/* See guard.h. */
bool
og_guard_row(const OgGuardSource *source, TupleTableSlot *old,
			 TupleTableSlot *new)
{
	char		is[OG_TOKEN_MAX + 1];
	char		was[OG_TOKEN_MAX + 1];

	if (source->attnum == 0)
		return old != NULL;		/* a change uses no token */
	if (new == NULL || !token_of(source, new, is))
		return true;
	if (old == NULL || !token_of(source, old, was) || strcmp(was, is) != 0)
		og_guard_add(is);
	return true;
}

/*
 * order_guard.guard(...): the trigger function; arguments as of capture().
 */
Datum
og_guard_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	OgGuardSource *source;
	bool		update;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_AFTER(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("order_guard.guard() is an AFTER trigger of rows"),
				 errhint("Use order_guard.watch().")));
	og_guard_function = fcinfo->flinfo->fn_oid;
	update = TRIGGER_FIRED_BY_UPDATE(data->tg_event);
	source = &sources[data->tg_trigger->tgoid % lengthof(sources)];
	og_guard_describe(source, data->tg_relation, data->tg_trigger);
	if (!og_guard_row(source, update ? data->tg_trigslot : NULL,
					  update ? data->tg_newslot : data->tg_trigslot))
		og_token_note(data, og_columns_watch(data->tg_trigger));
	return PointerGetDatum(data->tg_trigtuple);
}
