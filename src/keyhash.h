/*
 * keyhash.h
 *		Identity of a key: 128 bits, the same from wherever the key comes.
 */
#ifndef OG_KEYHASH_H
#define OG_KEYHASH_H

typedef struct OgKeyHash
{
	uint64		half[2];
} OgKeyHash;

extern void og_keyhash_begin(OgKeyHash *hash);
extern void og_keyhash_add(OgKeyHash *hash, Datum value, bool isnull,
						   Oid type, int16 typlen, bool typbyval);
extern void og_keyhash_bytes(OgKeyHash *hash, const char *bytes, int length);

#endif							/* OG_KEYHASH_H */
