/*
 * keyhash.c
 *		Identity of a key.
 *
 * Capture hashes what a trigger sees, the worker what it reads from a table,
 * outcome() what a person typed: equal keys must give equal hashes, whether a
 * value is compressed, padded, or an integer of another width.  Only code of
 * PostgreSQL's own types runs here.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "compat.h"

#include "keyhash.h"

void
og_keyhash_begin(OgKeyHash *hash)
{
	hash->half[0] = UINT64CONST(0x6f726465725f6775);
	hash->half[1] = UINT64CONST(0x6172645f6b657973);
}

void
og_keyhash_bytes(OgKeyHash *hash, const char *bytes, int length)
{
	for (int i = 0; i < 2; i++)
		hash->half[i] = hash_combine64(hash->half[i],
									   hash_bytes_extended((const unsigned char *) bytes,
														   length,
														   hash->half[i] ^ i));
}

/*
 * Most keys are one integer.  No step loses a bit of it, so no two of them
 * have the same hash.  The constants are those of MurmurHash3's finalizer.
 */
static uint64
mix(uint64 value)
{
	value ^= value >> 33;
	value *= UINT64CONST(0xff51afd7ed558ccd);
	value ^= value >> 33;
	value *= UINT64CONST(0xc4ceb9fe1a85ec53);
	return value ^ value >> 33;
}

static void
add_int64(OgKeyHash *hash, int64 value)
{
	uint64		mixed = mix((uint64) value);

	hash->half[0] = hash_combine64(hash->half[0], mixed);
	hash->half[1] = hash_combine64(hash->half[1], mix(~mixed));
}

static void
add_numeric(OgKeyHash *hash, Datum value)
{
	for (int i = 0; i < 2; i++)
	{
		Datum		part = DirectFunctionCall2(hash_numeric_extended, value,
											   Int64GetDatum(1 + i));

		hash->half[i] = hash_combine64(hash->half[i], DatumGetUInt64(part));
	}
}

static void
add_varlena(OgKeyHash *hash, Datum value, Oid type)
{
	struct varlena *detoasted = PG_DETOAST_DATUM_PACKED(value);
	int			length = VARSIZE_ANY_EXHDR(detoasted);
	char	   *bytes = VARDATA_ANY(detoasted);

	if (type == BPCHAROID)
		length = bpchartruelen(bytes, length);
	og_keyhash_bytes(hash, bytes, length);
	if ((Pointer) detoasted != DatumGetPointer(value))
		pfree(detoasted);
}

/*
 * og_keyhash_add
 *		Adds one column of a key.  May allocate in the current context, and
 *		fetch from a toast table if the value stands there.
 */
void
og_keyhash_add(OgKeyHash *hash, Datum value, bool isnull, Oid type,
			   int16 typlen, bool typbyval)
{
	if (isnull)
		og_keyhash_bytes(hash, "", 0);
	else if (type == INT2OID)
		add_int64(hash, DatumGetInt16(value));
	else if (type == INT4OID)
		add_int64(hash, DatumGetInt32(value));
	else if (type == INT8OID)
		add_int64(hash, DatumGetInt64(value));
	else if (type == NUMERICOID)
		add_numeric(hash, value);
	else if (typlen == -1)
		add_varlena(hash, value, type);
	else if (typlen == -2)
		og_keyhash_bytes(hash, DatumGetCString(value),
						 strlen(DatumGetCString(value)));
	else if (type == NAMEOID)
		og_keyhash_bytes(hash, NameStr(*DatumGetName(value)),
						 strlen(NameStr(*DatumGetName(value))));
	else if (typbyval && typlen == sizeof(int32))
		add_int64(hash, DatumGetInt32(value));	/* an oid, read or typed */
	else if (typbyval)
		add_int64(hash, (int64) value);
	else
		og_keyhash_bytes(hash, DatumGetPointer(value), typlen);
}
