/*
 * reader_value.c
 *		Values in the journal's records, as text.
 *
 * Runs in the worker and in backends that look at in_flight.  Everything is
 * allocated in the current memory context.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "keytext.h"
#include "reader.h"

#define DIGITS "0123456789"
#define BLANKS " \t\n\v\f\r"

static OgValue *
next_value(OgRowRecord *row, OgValue *value)
{
	char	   *end = (char *) row + row->head.length;
	char	   *place;

	if (value == NULL)
		place = (char *) (row + 1);
	else
		place = (char *) (value + 1) + MAXALIGN(value->length);
	if (place + sizeof(OgValue) > end ||
		place + sizeof(OgValue) + ((OgValue *) place)->length > end)
		return NULL;
	return (OgValue *) place;
}

/* An enum's label; NULL if it is gone. */
static char *
enum_label(Oid oid)
{
	HeapTuple	tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(oid));
	char	   *label;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	label = pstrdup(NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel));
	ReleaseSysCache(tuple);
	return label;
}

/* Of the types that most keys and statuses have, without the catalog. */
static char *
plain_text(const OgValue *value)
{
	const char *bytes = (const char *) (value + 1);
	char	   *text;

	switch (value->type)
	{
		case TEXTOID:
		case VARCHAROID:
			return pnstrdup(bytes, value->flags & OG_VALUE_CUT ?
							pg_mbcliplen(bytes, value->length, value->length) :
							value->length);
		case INT4OID:
			text = palloc(MAXINT8LEN + 1);
			pg_ltoa(DatumGetInt32(*(Datum *) bytes), text);
			return text;
		case INT8OID:
			text = palloc(MAXINT8LEN + 1);
			pg_lltoa(DatumGetInt64(*(Datum *) bytes), text);
			return text;
		default:
			return NULL;
	}
}

static char *
varlena_text(OgValue *value, Oid output, bool in_row)
{
	int			length = value->length;
	struct varlena *datum;

	if (value->flags & OG_VALUE_CUT)
		length = pg_mbcliplen((char *) (value + 1), length, length);
	if (value->type == BPCHAROID && !in_row)
		length = bpchartruelen((char *) (value + 1), length);
	datum = palloc(VARHDRSZ + length);
	SET_VARSIZE(datum, VARHDRSZ + length);
	memcpy(VARDATA(datum), value + 1, length);
	return OidOutputFunctionCall(output, PointerGetDatum(datum));
}

/*
 * May somebody have changed what the type's bytes mean since they were noted?
 * A row type's columns can be altered once no table uses it.
 */
static bool
is_fluid(Oid type, Oid output)
{
	return output == F_RECORD_OUT ||
		(type >= FirstNormalObjectId &&
		 (output == F_ARRAY_OUT || output == F_RANGE_OUT ||
		  output == F_MULTIRANGE_OUT));
}

/*
 * A value as a cast to text has it, or as the output of a row with it; NULL
 * for NULL and what is not there.
 */
static char *
value_text(OgValue *value, bool in_row)
{
	HeapTuple	tuple;
	Form_pg_type type;
	Oid			output;
	bool		byval;
	int16		length;
	char		kind;
	char	   *text;

	if (value->flags & (OG_VALUE_NULL | OG_VALUE_OMITTED))
		return NULL;
	text = plain_text(value);
	if (text)
		return text;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(value->type));
	if (!HeapTupleIsValid(tuple))
		return NULL;
	type = (Form_pg_type) GETSTRUCT(tuple);
	output = type->typoutput;
	byval = type->typbyval;
	length = type->typlen;
	kind = type->typtype;
	ReleaseSysCache(tuple);
	if (value->type == BOOLOID && !in_row)
		return pstrdup(*(Datum *) (value + 1) ? "true" : "false");
	if (kind == TYPTYPE_ENUM)
		return enum_label((Oid) *(Datum *) (value + 1));
	if (is_fluid(value->type, output))
		return NULL;
	if (length == -1)
		return varlena_text(value, output, in_row);
	if (byval)
		return OidOutputFunctionCall(output, *(Datum *) (value + 1));
	return OidOutputFunctionCall(output, PointerGetDatum(value + 1));
}

/* Is it a number that fits into numeric, and can be reckoned with? */
static bool
is_number(const char *text)
{
	const char *p = text + strspn(text, BLANKS);
	size_t		before;
	size_t		after = 0;

	p += *p == '+' || *p == '-';
	before = strspn(p, DIGITS);
	p += before;
	if (*p == '.')
		after = strspn(++p, DIGITS);
	p += after;
	if (before + after == 0 || before + after > 200)
		return false;
	if (*p == 'e' || *p == 'E')
	{
		p++;
		p += *p == '+' || *p == '-';
		before = strspn(p, DIGITS);
		if (before < 1 || before > 3)
			return false;
		p += before;
	}
	return p[strspn(p, BLANKS)] == '\0';
}

/* An amount as numeric reads it; NULL if the value is none. */
static char *
amount_text(OgValue *value)
{
	HeapTuple	tuple;
	Oid			output = InvalidOid;
	char	   *text;

	if (value->flags & (OG_VALUE_NULL | OG_VALUE_OMITTED | OG_VALUE_CUT))
		return NULL;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(value->type));
	if (HeapTupleIsValid(tuple))
	{
		output = ((Form_pg_type) GETSTRUCT(tuple))->typoutput;
		ReleaseSysCache(tuple);
	}
	if (output == F_CASH_OUT)	/* would print a currency's sign */
		return OidOutputFunctionCall(F_NUMERIC_OUT,
									 DirectFunctionCall1(cash_numeric,
														 *(Datum *) (value + 1)));
	text = value_text(value, false);
	return text && is_number(text) ? text : NULL;
}

/*
 * og_reader_value
 *		A value as text, NULL for NULL.  An amount is a number, or NULL.
 */
char *
og_reader_value(OgRowRecord *row, OgValueRole role)
{
	OgValue    *value = NULL;

	for (int i = 0; i < row->nvalues; i++)
	{
		value = next_value(row, value);
		if (value == NULL)
			return NULL;
		if (value->role == role)
			return role == OG_VALUE_AMOUNT ? amount_text(value) :
				value_text(value, false);
	}
	return NULL;
}

/* The key's column of this number, or NULL. */
static OgValue *
find_key(OgRowRecord *row, int column)
{
	OgValue    *value = NULL;

	for (int i = 0; i < row->nvalues; i++)
	{
		value = next_value(row, value);
		if (value == NULL || (value->role == OG_VALUE_KEY && column-- == 0))
			return value;
	}
	return NULL;
}

/* Have two records the same value, as far as noted, in a key's column? */
bool
og_reader_same_key(OgRowRecord *a, OgRowRecord *b, int column)
{
	OgValue    *left = find_key(a, column);
	OgValue    *right = find_key(b, column);

	return left && right && left->length == right->length &&
		left->flags == right->flags &&
		memcmp(left + 1, right + 1, left->length) == 0;
}

/*
 * og_reader_key
 *		The key as text: of one column its output, of several the row's.  NULL
 *		if it is longer than what is noted of it, or cannot be read any more.
 */
char *
og_reader_key(OgRowRecord *row)
{
	OgValue    *value = NULL;
	char	   *field[OG_MAX_KEYS];
	bool		in_row = find_key(row, 1) != NULL;
	int			n = 0;

	for (int i = 0; i < row->nvalues && n < OG_MAX_KEYS; i++)
	{
		value = next_value(row, value);
		if (value == NULL)
			break;
		if (value->role != OG_VALUE_KEY)
			continue;
		if (value->flags & (OG_VALUE_CUT | OG_VALUE_OMITTED))
			return NULL;
		field[n] = value_text(value, in_row);
		if (field[n++] == NULL && !(value->flags & OG_VALUE_NULL))
			return NULL;
	}
	return og_keytext_join(field, n);
}
