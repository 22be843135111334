/*
 * settle.h
 *		Requests to settle a token: asked by backends, answered by the worker.
 */
#ifndef OG_SETTLE_H
#define OG_SETTLE_H

#include "datatype/timestamp.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"

#include "tombstone.h"

#define OG_SETTLE_REQUESTS	32
#define OG_SETTLE_FORMS		4	/* ways to write one token */
#define OG_SETTLE_TEXT		256

/*
 *	FREE -> ASKED (backend) -> SERVED (worker) -> ANSWERED (worker) -> FREE
 *
 * A backend that gives up makes an ASKED one FREE at once, of a SERVED one it
 * says so and the worker does.
 */
typedef enum OgSettleState
{
	OG_SETTLE_FREE = 0,
	OG_SETTLE_ASKED,
	OG_SETTLE_SERVED,
	OG_SETTLE_ANSWERED
} OgSettleState;

typedef enum OgSettleResult
{
	OG_SETTLE_FAILED = 0,		/* sqlstate, message */
	OG_SETTLE_COMMITTED,
	OG_SETTLE_IN_FLIGHT,
	OG_SETTLE_PREPARED,
	OG_SETTLE_OWN,				/* the caller's own transaction has it */
	OG_SETTLE_SETTLED,			/* there is a tombstone on disk */
	OG_SETTLE_UNREPLICATED		/* on disk here, not on a standby yet */
} OgSettleResult;

/* All under og_settle->lock. */
typedef struct OgSettleRequest
{
	OgSettleState state;
	bool		abandoned;
	bool		cancel;
	Oid			database;
	int			pid;			/* who asks */
	TimestampTz until;
	int			nforms;
	char		form[OG_SETTLE_FORMS][OG_TOKEN_MAX + 1];
	char		by[NAMEDATALEN * 2 + 8];
	ConditionVariable answered;

	/* The answer. */
	OgSettleResult result;
	Oid			relation;		/* where it was found */
	int			holder;			/* pid of who has it open, 0: nobody */
	TransactionId xid;
	int			sqlstate;
	char		text[OG_SETTLE_TEXT];	/* message, or gid */
} OgSettleRequest;

typedef struct OgSettle
{
	LWLock	   *lock;
	OgSettleRequest request[OG_SETTLE_REQUESTS];
} OgSettle;

extern OgSettle *og_settle;

extern void og_settle_request_shmem(void);
extern void og_settle_init_shmem(void);

/*
 * The worker, outside a transaction: takes what was asked one step further.
 * In how many milliseconds it wants to be called again, -1: when woken.
 */
extern long og_settle_serve(void);

#endif							/* OG_SETTLE_H */
