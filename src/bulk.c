/*
 * bulk.c
 *		Which keys the rows have that are counted only.
 *
 * Runs in every backend that writes such rows, once per row; and in whoever
 * asks.  In the journal the two keys stand behind the number of rows, and are
 * changed in place while others copy them.  A CRC tells a key from half a key;
 * a whole number is stored in one piece.
 *
 * A whole number as the key: the least and the greatest.  Any other key: that
 * of the first row and that of the last one.  Rows whose savepoint was rolled
 * back are among them.  Where the row cannot be seen when it is counted (COPY,
 * a row routed to its partition), it is the one that BEFORE INSERT saw, if
 * there is such a trigger; if none has seen it, the record says so.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "port/pg_crc32c.h"

#include "attempt.h"
#include "bulk.h"
#include "reader.h"

/* The row that a BEFORE trigger saw last. */
static struct
{
	OgBulkKey	key;
	uint32		watch;			/* 0: none */
	uint32		statement;
}			seen;

static bool
is_number(const OgBulkKey *key)
{
	Oid			type = ((const OgValue *) key->values)->type;

	return key->nvalues == 1 &&
		(type == INT8OID || type == INT4OID || type == INT2OID);
}

static int64 *
number_of(OgBulkKey *key)
{
	return (int64 *) ((OgValue *) key->values + 1);
}

/* A number is stored in one piece: it is not part of it. */
static pg_crc32c
crc_of(const OgBulkKey *key)
{
	Size		length = is_number(key) ? sizeof(OgValue) :
		Min(key->length, OG_BULK_KEY);
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, (const char *) key + sizeof(key->crc),
				offsetof(OgBulkKey, values) - sizeof(key->crc) + length);
	FIN_CRC32C(crc);
	return crc;
}

/* What there is to copy of a column; NULL if it is stored apart. */
static const char *
bytes_of(const OgColumn *column, const Datum *value, uint32 *length)
{
	const char *bytes = DatumGetPointer(*value);

	*length = column->length;
	if (column->length == -2)
		*length = strlen(bytes) + 1;
	if (column->length != -1)
		return bytes;
	if (VARATT_IS_EXTERNAL(bytes) || VARATT_IS_COMPRESSED(bytes))
		return NULL;
	*length = VARSIZE_ANY_EXHDR(bytes);
	return VARDATA_ANY(bytes);
}

/* Adds one column; false if that cannot be. */
static bool
add_column(OgBulkKey *key, const OgColumn *column, Datum value)
{
	OgValue    *item = (OgValue *) ((char *) key->values + key->length);
	uint32		length = sizeof(Datum);
	const char *bytes = NULL;

	if (!column->byval)
	{
		bytes = bytes_of(column, &value, &length);
		if (bytes == NULL)
			return false;
	}
	if (key->length + sizeof(OgValue) + MAXALIGN(length) > OG_BULK_KEY)
		return false;
	item->type = column->type;
	item->role = OG_VALUE_KEY;
	item->flags = 0;
	item->length = length;
	if (column->byval)
		*(Datum *) (item + 1) = value;
	else
		memcpy(item + 1, bytes, length);
	key->length += sizeof(OgValue) + MAXALIGN(length);
	key->nvalues++;
	return true;
}

/* Of a key that cannot be noted there are no values. */
static void
make_key(OgBulkKey *key, const OgCaptured *entry, TupleTableSlot *slot)
{
	key->length = 0;
	key->nvalues = 0;
	key->unused = 0;
	for (int i = 0; i < entry->ncolumns; i++)
	{
		const OgColumn *column = &entry->column[i];
		bool		isnull;
		Datum		value;

		if (!(column->uses & OG_IS_KEY))
			continue;
		value = slot_getattr(slot, column->attnum, &isnull);
		if (isnull || !add_column(key, column, value))
		{
			key->nvalues = 0;
			return;
		}
	}
}

static void
put_key(OgBulkKey *place, OgBulkKey *key)
{
	key->crc = crc_of(key);
	memcpy(place, key, offsetof(OgBulkKey, values) + key->length);
}

/* Are both numbers of one type? */
static bool
are_numbers(const OgBulkKey *a, const OgBulkKey *b)
{
	return is_number(a) && is_number(b) &&
		((const OgValue *) a->values)->type ==
		((const OgValue *) b->values)->type;
}

static void
put(OgBulkRecord *bulk, OgBulkKey *key)
{
	if (key->nvalues == 0)
		bulk->unseen = 1;
	else if (bulk->first.nvalues == 0)
	{
		put_key(&bulk->first, key);
		put_key(&bulk->last, key);
	}
	else if (!are_numbers(key, &bulk->first) ||
			 !are_numbers(key, &bulk->last))
		put_key(&bulk->last, key);
	else if (*number_of(key) > *number_of(&bulk->last))
		*number_of(&bulk->last) = *number_of(key);
	else if (*number_of(key) < *number_of(&bulk->first))
		*number_of(&bulk->first) = *number_of(key);
}

/*
 * og_bulk_note
 *		Notes the key of a row that has been counted.  Allocates nothing and
 *		cannot fail.  bulk: NULL if there was no room to count it.
 */
void
og_bulk_note(OgBulkRecord *bulk, const OgCaptured *entry, TupleTableSlot *slot)
{
	OgBulkKey	key;

	if (bulk == NULL || slot == NULL || entry->watch != bulk->watch)
		return;
	make_key(&key, entry, slot);
	put(bulk, &key);
}

/*
 * og_bulk_remember
 *		Keeps the key of a row that may be counted next.  If it can become
 *		another one before it is a row, it is not known.
 */
void
og_bulk_remember(const OgCaptured *entry, TupleTableSlot *slot)
{
	seen.watch = entry->keeps_candidate ? entry->watch : 0;
	seen.statement = og_attempt_statement();
	if (seen.watch != 0)
		make_key(&seen.key, entry, slot);
}

/*
 * og_bulk_note_remembered
 *		Notes that key, of a row that has been counted and cannot be seen.
 */
void
og_bulk_note_remembered(OgBulkRecord *bulk)
{
	if (bulk == NULL)
		return;
	if (seen.watch == bulk->watch && seen.statement == og_attempt_statement())
		put(bulk, &seen.key);
	else
		bulk->unseen = 1;
	seen.watch = 0;
}

/*
 * og_bulk_key
 *		The key as text; NULL if there is none, or it was being changed.
 */
char *
og_bulk_key(const OgBulkKey *key)
{
	OgRowRecord *row;

	if (key->nvalues == 0 || key->length > OG_BULK_KEY ||
		key->crc != crc_of(key))
		return NULL;
	row = palloc0(sizeof(OgRowRecord) + key->length);
	row->head.length = sizeof(OgRowRecord) + key->length;
	row->nvalues = key->nvalues;
	memcpy(row + 1, key->values, key->length);
	return og_reader_key(row);
}

/*
 * og_bulk_keys
 *		Which keys the rows have, in words; NULL if none is known.
 */
char *
og_bulk_keys(const OgBulkRecord *bulk)
{
	char	   *first = og_bulk_key(&bulk->first);
	char	   *last = og_bulk_key(&bulk->last);
	const char *known = bulk->unseen ? ", as far as they are known" : "";

	if (first == NULL || last == NULL)
		return NULL;
	if (are_numbers(&bulk->first, &bulk->last))
		return psprintf("with keys from %s to %s%s", first, last, known);
	return psprintf("the first with key %s, the last with key %s%s", first,
					last, known);
}
