/*
 * failpoint.c
 *		order_guard.fail_point: a connection is cut before or after the commit
 *		of a token, so that an application's retries can be tested.
 *
 * Runs in backends that serve a client.  The tokens of the row images that
 * are captured are compared when the setting is set, and a match is kept in
 * the backend's own memory until the transaction ends; what a savepoint has
 * undone counts as well.  Before the commit the transaction fails and the
 * client hears nothing, as if the network had.  After it only the socket is
 * shut down, since nothing may fail there: the backend finds out when it
 * sends its answer, and ends.
 *
 * What has been cut "once" stands in shared memory, by hash, without a lock:
 * a set of WAYS entries is searched and one of them replaced when it is full,
 * so a token of long ago may be cut again.  A crash forgets all.
 */
#include "postgres.h"

#include <sys/socket.h>

#include "access/xact.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "libpq/libpq-be.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "tcop/tcopprot.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "failpoint.h"

#define SETS 128
#define WAYS 8

typedef enum Point
{
	POINT_NONE = 0,
	POINT_BEFORE_COMMIT,
	POINT_AFTER_COMMIT
} Point;

/* What the setting says. */
typedef struct Wish
{
	Point		point;
	bool		once;
	const char *token;			/* "*": any */
} Wish;

/* Hashes of what was cut once; 0: free.  Written and read by backends. */
typedef struct Fired
{
	pg_atomic_uint64 entry[SETS][WAYS];
} Fired;

char	   *og_fail_point = NULL;

static Fired *fired = NULL;

/* Of the current transaction; NONE unless it has a token that was meant. */
static Point noted = POINT_NONE;
static bool noted_once;
static uint64 noted_hash;

static bool
skip(const char **text, const char *prefix)
{
	Size		length = strlen(prefix);

	if (strncmp(*text, prefix, length) != 0)
		return false;
	*text += length;
	return true;
}

/* Reads "[once ]before-commit:TOKEN" and the like; false if it is not. */
static bool
parse(const char *text, Wish *wish)
{
	wish->once = skip(&text, "once ");
	if (skip(&text, "before-commit:"))
		wish->point = POINT_BEFORE_COMMIT;
	else if (skip(&text, "after-commit:"))
		wish->point = POINT_AFTER_COMMIT;
	else
		return false;
	wish->token = text;
	return *text != '\0';
}

/*
 * og_failpoint_check
 *		Check hook of the setting.
 */
bool
og_failpoint_check(char **value, void **extra, GucSource source)
{
	Wish		wish;

	if (*value == NULL || **value == '\0' || parse(*value, &wish))
		return true;
	GUC_check_errdetail("It has to be \"before-commit:TOKEN\" or "
						"\"after-commit:TOKEN\", with \"once \" before it or "
						"not; the token \"*\" stands for any.");
	return false;
}

/*
 * og_failpoint_note_token
 *		The current transaction works on an order with this token.
 */
void
og_failpoint_note_token(const char *token, Size length)
{
	Wish		wish;

	if (noted != POINT_NONE || og_fail_point == NULL || MyProcPort == NULL ||
		!parse(og_fail_point, &wish))
		return;
	if (strcmp(wish.token, "*") != 0 &&
		(strlen(wish.token) != length ||
		 memcmp(wish.token, token, length) != 0))
		return;
	noted = wish.point;
	noted_once = wish.once;
	noted_hash = hash_bytes_extended((const unsigned char *) token, length,
									 ((uint64) MyDatabaseId << 2) |
									 wish.point) | 1;
}

/*
 * A value of a type of somebody else's, whose code must not run while rows
 * are captured: its bytes stand for the text, which they are in citext.
 */
static void
note_bytes(Oid type, Datum value)
{
	int16		length;
	bool		byval;
	struct varlena *varlena;

	get_typlenbyval(type, &length, &byval);
	if (byval)
		og_failpoint_note_token((char *) &value, sizeof(value));
	else if (length != -1)
		og_failpoint_note_token(DatumGetPointer(value), length > 0 ? length :
								strlen(DatumGetCString(value)));
	else
	{
		varlena = PG_DETOAST_DATUM_PACKED(value);
		og_failpoint_note_token(VARDATA_ANY(varlena),
								VARSIZE_ANY_EXHDR(varlena));
	}
}

/*
 * og_failpoint_note_value
 *		The same for the value of a token column.
 */
void
og_failpoint_note_value(Oid type, Datum value)
{
	Oid			base;
	Oid			output;
	bool		varlena;
	char	   *text;

	if (*og_fail_point == '\0')
		return;
	base = getBaseType(type);
	if (base >= FirstNormalObjectId)
	{
		note_bytes(base, value);
		return;
	}
	getTypeOutputInfo(base, &output, &varlena);
	text = OidOutputFunctionCall(output, value);
	og_failpoint_note_token(text, strlen(text));
	pfree(text);
}

static pg_atomic_uint64 *
set_of_noted(void)
{
	return fired->entry[(noted_hash >> 8) % SETS];
}

/* Has it been cut, and was to be cut only once? */
static bool
is_spent(void)
{
	pg_atomic_uint64 *set = set_of_noted();

	for (int i = 0; noted_once && i < WAYS; i++)
		if (pg_atomic_read_u64(&set[i]) == noted_hash)
			return true;
	return false;
}

/* Is it to be cut?  Once is for one of those who ask at the same time. */
static bool
claim(void)
{
	pg_atomic_uint64 *set = set_of_noted();

	if (!noted_once)
		return true;
	if (is_spent())
		return false;
	for (int i = 0; i < WAYS; i++)
	{
		uint64		expected = 0;

		if (pg_atomic_compare_exchange_u64(&set[i], &expected, noted_hash))
			return true;
		if (expected == noted_hash)
			return false;
	}
	pg_atomic_write_u64(&set[(noted_hash >> 32) % WAYS], noted_hash);
	return true;
}

/* The client hears no more of us.  Cannot fail. */
static void
cut(void)
{
	(void) shutdown(MyProcPort->sock, SHUT_RDWR);
}

static void
before_commit(void)
{
	if (noted == POINT_AFTER_COMMIT)
	{
		if (!is_spent())
			ereport(LOG,
					(errmsg("order_guard.fail_point will cut the connection "
							"after this commit")));
		return;
	}
	if (!claim())
		return;
	cut();
	whereToSendOutput = DestNone;
	pgStatSessionEndCause = DISCONNECT_CLIENT_EOF;
	ereport(FATAL,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("order_guard.fail_point cut the connection before the "
					"commit")));
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (noted == POINT_NONE)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			before_commit();
			break;
		case XACT_EVENT_COMMIT:
			if (noted == POINT_AFTER_COMMIT && claim())
				cut();
			noted = POINT_NONE;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			noted = POINT_NONE;
			break;
		default:
			break;
	}
}

/*
 * og_failpoint_request_shmem, og_failpoint_init_shmem, og_failpoint_init
 *		From the shared memory hooks, and from _PG_init.
 */
void
og_failpoint_request_shmem(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(Fired)));
}

void
og_failpoint_init_shmem(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	fired = ShmemInitStruct("order_guard fail points", sizeof(Fired), &found);
	if (!found)
		for (int i = 0; i < SETS * WAYS; i++)
			pg_atomic_init_u64(&fired->entry[i / WAYS][i % WAYS], 0);
	LWLockRelease(AddinShmemInitLock);
}

void
og_failpoint_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
}
