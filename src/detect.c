/*
 * detect.c
 *		What the detectors share: identities of groups, ages, evidence.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "detect.h"
#include "keyhash.h"

/* Identity of an incident that is not about one key. */
void
og_detect_hash(unsigned char *hash, const char *what, int watch)
{
	OgKeyHash	key;

	og_keyhash_begin(&key);
	og_keyhash_bytes(&key, what, strlen(what));
	og_keyhash_bytes(&key, (char *) &watch, sizeof(watch));
	memcpy(hash, key.half, 16);
}

static char *
two_units(int64 big, const char *big_unit, int64 small,
		  const char *small_unit)
{
	if (small == 0)
		return psprintf("%d %s", (int) big, big_unit);
	return psprintf("%d %s %d %s", (int) big, big_unit, (int) small,
					small_unit);
}

/*
 * og_detect_age
 *		A length of time as people say it: the two largest units.
 */
char *
og_detect_age(int64 microseconds)
{
	int64		seconds = Max(microseconds, 0) / USECS_PER_SEC;

	if (seconds < 60)
		return psprintf("%d s", (int) seconds);
	if (seconds < 3600)
		return two_units(seconds / 60, "min", seconds % 60, "s");
	if (seconds < 86400)
		return two_units(seconds / 3600, "h", seconds % 3600 / 60, "min");
	return two_units(seconds / 86400, "d", seconds % 86400 / 3600, "h");
}

/* A JSON object of strings; NULL values are left out. */
char *
og_detect_json(const char *const *names, const char *const *values, int n)
{
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < n; i++)
	{
		if (values[i] == NULL)
			continue;
		appendStringInfoString(&json, json.len == 0 ? "{" : ", ");
		escape_json(&json, names[i]);
		appendStringInfoString(&json, ": ");
		escape_json(&json, values[i]);
	}
	appendStringInfoString(&json, json.len == 0 ? "{}" : "}");
	return json.data;
}
