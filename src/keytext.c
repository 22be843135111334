/*
 * keytext.c
 *		Keys as text: writing, taking apart, hashing what a person typed.
 *
 * Runs in any backend with the caller's rights.  Values are read by the input
 * function of the column's base type: a domain's constraints are code of
 * somebody else, and no key in the table breaks them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "compat.h"
#include "keytext.h"

PG_FUNCTION_INFO_V1(og_keytext_hash);

/* A field as a row's output shows it. */
static void
append_field(StringInfo text, const char *field)
{
	bool		quote;

	if (field == NULL)
		return;
	quote = field[0] == '\0' || strpbrk(field, "\"\\(), \t\n\r\v\f") != NULL;
	if (quote)
		appendStringInfoChar(text, '"');
	for (; *field; field++)
	{
		if (*field == '"' || *field == '\\')
			appendStringInfoChar(text, *field);
		appendStringInfoChar(text, *field);
	}
	if (quote)
		appendStringInfoChar(text, '"');
}

char *
og_keytext_join(char **fields, int n)
{
	StringInfoData text;

	if (n < 2)
		return n == 0 ? NULL : fields[0];
	initStringInfo(&text);
	for (int i = 0; i < n; i++)
	{
		appendStringInfoChar(&text, i == 0 ? '(' : ',');
		append_field(&text, fields[i]);
	}
	appendStringInfoChar(&text, ')');
	return text.data;
}

/*
 * One field by the rules of row input; *next then is behind it.  False if the
 * text ends too early.
 */
static bool
next_field(const char **next, char **field)
{
	const char *c = *next;
	bool		quoted = false;
	StringInfoData buf;

	*field = NULL;
	if (*c == ',' || *c == ')')
		return true;
	initStringInfo(&buf);
	for (; quoted || (*c != ',' && *c != ')'); c++)
	{
		if (*c == '\\')
			c++;
		else if (*c == '"' && quoted && c[1] == '"')
			c++;
		else if (*c == '"')
		{
			quoted = !quoted;
			continue;
		}
		if (*c == '\0')
			return false;
		appendStringInfoChar(&buf, *c);
	}
	*next = c;
	*field = buf.data;
	return true;
}

/*
 * og_keytext_parse
 *		The fields of a key of n columns; NULL, or why it is none.
 */
const char *
og_keytext_parse(const char *key, int n, List **fields)
{
	const char *c = key;
	char	   *field;

	*fields = NIL;
	if (n == 1)
	{
		*fields = list_make1(pstrdup(key));
		return NULL;
	}
	if (*c != '(')
		return "A key of several columns looks like (a,b).";
	do
	{
		c++;
		if (!next_field(&c, &field))
			return "It ends too early.";
		*fields = lappend(*fields, field);
	} while (*c == ',');
	if (c[1] != '\0')
		return "Something follows the right parenthesis.";
	if (list_length(*fields) != n)
		return psprintf("It has %d columns, the table's key has %d.",
						list_length(*fields), n);
	return NULL;
}

List *
og_keytext_split(const char *key, int n)
{
	List	   *fields;
	const char *problem = og_keytext_parse(key, n, &fields);

	if (problem)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("malformed key: \"%s\"", key),
				 errdetail_internal("%s", problem)));
	return fields;
}

static AttrNumber
find_column(Oid relation, const char *column)
{
	AttrNumber	attnum = get_attnum(relation, column);

	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist",
						column, get_rel_name(relation)),
				 errhint("Call order_guard.watch() again.")));
	return attnum;
}

/*
 * og_keytext_equality
 *		The equality of a type, as its default btree operator class has it.
 */
char *
og_keytext_equality(Oid type)
{
	Oid			operator = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("type %s has no equality operator",
						format_type_be(type))));
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf("OPERATOR(%s.%s)",
					quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return name;
}

void
og_keytext_compare(StringInfo buf, Oid relation, const char *column,
				   const char *value)
{
	AttrNumber	attnum = find_column(relation, column);
	Oid			type = getBaseType(get_atttype(relation, attnum));

	if (value == NULL)
		appendStringInfo(buf, "%s IS NULL", quote_identifier(column));
	else
		appendStringInfo(buf, "%s %s %s::%s", quote_identifier(column),
						 og_keytext_equality(type), quote_literal_cstr(value),
						 format_type_extended(type, -1,
											  FORMAT_TYPE_TYPEMOD_GIVEN |
											  FORMAT_TYPE_FORCE_QUALIFY));
}

/*
 * og_keytext_value
 *		What the text of a column means, as a value of its base type.
 */
Datum
og_keytext_value(Oid relation, const char *column, const char *text, Oid *base)
{
	Oid			type;
	Oid			collation;
	int32		typmod;
	Oid			input;
	Oid			param;

	get_atttypetypmodcoll(relation, find_column(relation, column),
						  &type, &typmod, &collation);
	*base = getBaseTypeAndTypmod(type, &typmod);
	if (text == NULL)
		return (Datum) 0;
	getTypeInputInfo(*base, &input, &param);
	return OidInputFunctionCall(input, unconstify(char *, text), param,
								typmod);
}

/*
 * og_keytext_add
 *		Adds one column to the hash of a key.
 */
void
og_keytext_add(OgKeyHash *hash, Oid relation, const char *column,
			   Datum value, bool isnull)
{
	Oid			type = get_atttype(relation, find_column(relation, column));
	int16		length;
	bool		byval;

	get_typlenbyval(type, &length, &byval);
	og_keyhash_add(hash, value, isnull, type, length, byval);
}

/*
 * order_guard._key_hash(relation oid, columns name[], key text) returns uuid:
 * the identity that capture gives to this key.
 */
Datum
og_keytext_hash(PG_FUNCTION_ARGS)
{
	Oid			relation = PG_GETARG_OID(0);
	ArrayType  *columns = PG_GETARG_ARRAYTYPE_P(1);
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));
	Datum	   *names;
	int			n;
	List	   *fields;
	OgKeyHash	hash;

	deconstruct_array(columns, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
					  &names, NULL, &n);
	fields = og_keytext_split(text_to_cstring(PG_GETARG_TEXT_PP(2)), n);
	og_keyhash_begin(&hash);
	for (int i = 0; i < n; i++)
	{
		const char *column = NameStr(*DatumGetName(names[i]));
		const char *field = list_nth(fields, i);
		Oid			base;
		Datum		value = og_keytext_value(relation, column, field, &base);

		og_keytext_add(&hash, relation, column, value, field == NULL);
	}
	memcpy(uuid->data, hash.half, UUID_LEN);
	PG_RETURN_UUID_P(uuid);
}
