/*
 * capture.c
 *		The triggers: what a transaction does to a watched row goes into the
 *		journal.
 *
 * Runs in every backend, inside the application's statements.  It looks at
 * the row with no code but PostgreSQL's own, compares columns byte by byte,
 * takes no heavyweight lock and raises no error.  What it needs to know stands
 * in the triggers' arguments (captured.c), which the relation cache holds
 * anyway.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "port/pg_crc32c.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "attempt.h"
#include "bulk.h"
#include "candidate.h"
#include "capture.h"
#include "compat.h"
#include "failpoint.h"
#include "keyhash.h"
#include "settings.h"

#define MAX_VALUES	24			/* of one record */

/* A record under construction. */
typedef struct Draft
{
	Size		length;
	OgKeyHash	key;
	union
	{
		OgRowRecord row;
		char		bytes[sizeof(OgRowRecord) +
						  MAX_VALUES * (sizeof(OgValue) + OG_MAX_VALUE)];
	}			record;
} Draft;

/* order_guard.capture(), when it was called in this backend. */
Oid			og_capture_function = InvalidOid;

/* The candidate that was noted last, if it can become a row only as it is. */
static struct
{
	const TupleTableSlot *slot; /* NULL: none */
	const OgChanged *changed;
	uint32		as_of;
	uint32		watch;
	uint32		statement;
	bool		in_draft;		/* as it was written */
}			latest;

static Draft draft;

PG_FUNCTION_INFO_V1(og_capture_trigger);

static bool
is_text(Oid type)
{
	return type == TEXTOID || type == VARCHAROID || type == BPCHAROID;
}

/* Adds bytes to the draft, if there is room for one more value. */
static inline void
add_bytes(OgValueRole role, Oid type, uint8 flags, const char *bytes,
		  Size length)
{
	OgValue    *item = (OgValue *) (draft.record.bytes + draft.length);
	uint64	   *to = (uint64 *) (item + 1);

	if (draft.record.row.nvalues == MAX_VALUES)
		return;
	if (!(flags & OG_VALUE_OMITTED) && length > OG_MAX_VALUE)
		flags |= is_text(type) ? OG_VALUE_CUT : OG_VALUE_OMITTED;
	length = flags & (OG_VALUE_OMITTED | OG_VALUE_NULL) ? 0 :
		Min(length, OG_MAX_VALUE);
	item->type = type;
	item->role = role;
	item->flags = flags;
	item->length = length;
	if (length > 0)
	{
		to[(length - 1) / sizeof(uint64)] = 0;	/* what aligns the next */
		memcpy(to, bytes, length);
	}
	draft.length += sizeof(OgValue) + MAXALIGN(length);
	draft.record.row.nvalues++;
}

/* The same for a value of a column. */
static void
add_value(OgValueRole role, const OgColumn *column, Datum value, bool isnull)
{
	struct varlena *varlena = (struct varlena *) DatumGetPointer(value);
	const char *bytes = (char *) varlena;
	uint8		flags = 0;

	if (isnull)
		add_bytes(role, column->type, OG_VALUE_NULL, NULL, 0);
	else if (column->byval)
		add_bytes(role, column->type, 0, (char *) &value, sizeof(Datum));
	else if (column->length != -1)
		add_bytes(role, column->type, 0, bytes, column->length == -2 ?
				  strlen(bytes) + 1 : column->length);
	else
	{
		if (VARATT_IS_EXTERNAL(varlena) && role != OG_VALUE_KEY)
			flags = OG_VALUE_OMITTED;
		else if (VARATT_IS_EXTENDED(varlena) && !VARATT_IS_SHORT(varlena))
			varlena = PG_DETOAST_DATUM_PACKED(value);
		add_bytes(role, column->type, flags, VARDATA_ANY(varlena),
				  VARSIZE_ANY_EXHDR(varlena));
	}
}

/* Identity of watch, relation, key and values, to find a candidate again. */
static uint64
content_of_draft(void)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, draft.record.bytes + offsetof(OgRowRecord, watch),
				sizeof(uint32) + sizeof(Oid));
	COMP_CRC32C(crc, draft.record.bytes + sizeof(OgRowRecord),
				draft.length - sizeof(OgRowRecord));
	FIN_CRC32C(crc);
	return (draft.key.half[0] ^ ((uint64) crc << 32)) | 1;
}

/* Few candidates are looked for by what is in them. */
static void
identify_latest(void)
{
	if (latest.in_draft)
		og_candidate_identify(content_of_draft());
	latest.in_draft = false;
}

static void
begin_draft(const OgCaptured *entry, char operation, uint8 flags)
{
	OgRowRecord *row = &draft.record.row;

	identify_latest();
	memset(row, 0, sizeof(*row));
	row->head.type = OG_REC_ROW;
	row->head.flags = flags;
	row->xid = U64FromFullTransactionId(GetTopFullTransactionIdIfAny());
	row->at = GetCurrentStatementStartTimestamp();
	row->watch = entry->watch;
	row->relation = entry->relation;
	row->statement = og_attempt_statement();
	row->operation = operation;
	draft.length = sizeof(*row);
	og_keyhash_begin(&draft.key);
}

/* Of applications that have no column for the token. */
static void
add_token_setting(const OgCaptured *entry)
{
	if (og_token == NULL || *og_token == '\0')
		return;
	for (int i = 0; i < entry->ncolumns; i++)
		if (entry->column[i].value_role == OG_VALUE_TOKEN)
			return;
	if (unlikely(og_fail_point != NULL))
		og_failpoint_note_token(og_token, strlen(og_token));
	add_bytes(OG_VALUE_TOKEN, TEXTOID, 0, og_token, strlen(og_token));
}

/* Adds all that is to be noted of one image of the row. */
static void
add_image(const OgCaptured *entry, TupleTableSlot *slot, OgValueRole status)
{
	for (int i = 0; i < entry->ncolumns; i++)
	{
		const OgColumn *column = &entry->column[i];
		bool		isnull;
		Datum		value;

		if (!(column->uses & OG_IS_NOTED))
			continue;
		value = slot_getattr(slot, column->attnum, &isnull);
		if (column->uses & OG_IS_KEY)
			og_keyhash_add(&draft.key, value, isnull, column->type,
						   column->length, column->byval);
		if (column->value_role == OG_VALUE_TOKEN)
			OG_FAILPOINT_NOTE(column->type, value, isnull);
		add_value(column->value_role == OG_VALUE_NEW_STATUS ? status :
				  column->value_role, column, value, isnull);
	}
	add_token_setting(entry);
	memcpy(draft.record.row.hash, draft.key.half, 16);
}

static void
add_old_status(const OgCaptured *entry, TupleTableSlot *slot)
{
	for (int i = 0; i < entry->ncolumns; i++)
	{
		const OgColumn *column = &entry->column[i];
		bool		isnull;
		Datum		value;

		if (!(column->uses & OG_IS_NOTED) ||
			column->value_role != OG_VALUE_NEW_STATUS)
			continue;
		value = slot_getattr(slot, column->attnum, &isnull);
		add_value(OG_VALUE_OLD_STATUS, column, value, isnull);
	}
}

static bool
write_draft(void)
{
	draft.record.row.head.length = draft.length;
	return og_attempt_write(&draft.record.row.head);
}

/*
 * og_capture_candidate
 *		A row is about to be inserted.
 */
void
og_capture_candidate(const OgCaptured *entry, TupleTableSlot *new)
{
	if (entry->watch == 0)
		return;
	latest.slot = NULL;
	if (!og_attempt_admit())
	{
		og_bulk_remember(entry, new);
		return;
	}
	begin_draft(entry, 'I', OG_ROW_CANDIDATE);
	add_image(entry, new, OG_VALUE_NEW_STATUS);
	if (!write_draft())
		return;
	og_candidate_add();
	latest.in_draft = true;
	if (!entry->keeps_candidate)
		return;
	latest.slot = new;
	latest.changed = entry->changed;
	latest.as_of = entry->as_of;
	latest.watch = entry->watch;
	latest.statement = og_attempt_statement();
}

/*
 * Is this row the candidate that was noted last, and the same still?  What is
 * deferred to the commit comes after the statement, with slots of its own.
 */
static bool
is_latest(const OgCaptured *entry, const TupleTableSlot *new)
{
	return latest.slot == new && og_attempt_running != NULL &&
		latest.changed == entry->changed &&
		latest.as_of == entry->as_of && latest.watch == entry->watch &&
		latest.statement == og_attempt_statement();
}

static void
capture_insert(const OgCaptured *entry, TupleTableSlot *new)
{
	bool		known = is_latest(entry, new);

	latest.slot = NULL;
	if (known && og_candidate_confirm_newest())
	{
		latest.in_draft = false;
		return;
	}
	begin_draft(entry, 'I', 0);
	add_image(entry, new, OG_VALUE_NEW_STATUS);
	if (!og_candidate_confirm(content_of_draft()))
		write_draft();
}

static void
capture_delete(const OgCaptured *entry, TupleTableSlot *old, uint8 flags)
{
	begin_draft(entry, 'D', flags);
	add_image(entry, old, OG_VALUE_OLD_STATUS);
	write_draft();
}

/* Are two values the same, byte for byte? */
static bool
same_bytes(const OgColumn *column, Datum a, Datum b)
{
	struct varlena *left;
	struct varlena *right;

	if (column->byval)
		return a == b;
	if (column->length > 0)
		return memcmp(DatumGetPointer(a), DatumGetPointer(b),
					  column->length) == 0;
	if (column->length == -2)
		return strcmp(DatumGetCString(a), DatumGetCString(b)) == 0;
	left = (struct varlena *) DatumGetPointer(a);
	right = (struct varlena *) DatumGetPointer(b);
	if (VARATT_IS_EXTENDED(left) != VARATT_IS_EXTENDED(right) &&
		(VARATT_IS_COMPRESSED(left) || VARATT_IS_COMPRESSED(right) ||
		 VARATT_IS_EXTERNAL(left) || VARATT_IS_EXTERNAL(right)))
		return false;
	if (VARATT_IS_EXTERNAL(left) || VARATT_IS_EXTERNAL(right))
		return VARSIZE_ANY(left) == VARSIZE_ANY(right) &&
			memcmp(left, right, VARSIZE_ANY(left)) == 0;
	return VARSIZE_ANY_EXHDR(left) == VARSIZE_ANY_EXHDR(right) &&
		memcmp(VARDATA_ANY(left), VARDATA_ANY(right),
			   VARSIZE_ANY_EXHDR(left)) == 0;
}

/* Does any column differ that is used for one of these? */
static bool
differs(const OgCaptured *entry, TupleTableSlot *old, TupleTableSlot *new,
		uint8 uses)
{
	for (int i = 0; i < entry->ncolumns; i++)
	{
		const OgColumn *column = &entry->column[i];
		Datum		was;
		Datum		is;
		bool		was_null;
		bool		is_null;

		if (!(column->uses & uses))
			continue;
		was = slot_getattr(old, column->attnum, &was_null);
		is = slot_getattr(new, column->attnum, &is_null);
		if (was_null != is_null ||
			(!was_null && !same_bytes(column, was, is)))
			return true;
	}
	return false;
}

static void
capture_update(const OgCaptured *entry, TupleTableSlot *old,
			   TupleTableSlot *new)
{
	bool		moved = differs(entry, old, new, OG_IS_KEY);

	if (!moved && !entry->every_change &&
		!differs(entry, old, new, OG_IS_JUDGED))
	{
		og_attempt_unitemise();
		return;
	}
	if (moved)
		capture_delete(entry, old, OG_ROW_MOVED);
	begin_draft(entry, 'U', moved ? OG_ROW_MOVED : 0);
	add_old_status(entry, old);
	add_image(entry, new, OG_VALUE_NEW_STATUS);
	write_draft();
}

static void
capture_truncate(const OgCaptured *entry)
{
	begin_draft(entry, 'T', 0);
	write_draft();
}

/*
 * og_capture_row
 *		A row was inserted (no old one), updated, or deleted (no new one), and
 *		is to be noted by itself.
 */
void
og_capture_row(const OgCaptured *entry, TupleTableSlot *old,
			   TupleTableSlot *new)
{
	if (entry->watch == 0)
		return;
	if (old == NULL)
		capture_insert(entry, new);
	else if (new == NULL)
		capture_delete(entry, old, 0);
	else
		capture_update(entry, old, new);
}

/*
 * order_guard.capture(...): the trigger function.
 */
Datum
og_capture_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	const OgCaptured *entry;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("order_guard.capture() was not called as a trigger"),
				 errhint("Use order_guard.watch().")));
	og_capture_function = fcinfo->flinfo->fn_oid;
	if (!og_attempt_active())
		goto done;
	entry = og_captured_find(data->tg_relation, data->tg_trigger);
	if (entry->watch == 0)
		goto done;
	if (TRIGGER_FIRED_BY_TRUNCATE(data->tg_event))
		capture_truncate(entry);
	else if (!TRIGGER_FIRED_FOR_ROW(data->tg_event))
		goto done;
	else if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		og_capture_row(entry, data->tg_trigslot, data->tg_newslot);
	else if (TRIGGER_FIRED_BY_DELETE(data->tg_event))
		og_capture_row(entry, data->tg_trigslot, NULL);
	else if (TRIGGER_FIRED_BEFORE(data->tg_event))
		og_capture_candidate(entry, data->tg_trigslot);
	else
		og_capture_row(entry, NULL, data->tg_trigslot);
done:
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(data->tg_event) &&
						   TRIGGER_FIRED_BEFORE(data->tg_event) ?
						   data->tg_newtuple : data->tg_trigtuple);
}
