/*
 * candidate.c
 *		Rows that are about to be inserted, and then were.
 *
 * Runs in every backend, after capture.c has written a candidate to the
 * journal.  When it has become a row, a short record says so, by the number of
 * the candidate within the transaction; it is found by what is in the row, as
 * other rows may have come between.
 */
#include "postgres.h"

#include "access/xact.h"

#include "attempt.h"
#include "candidate.h"

#define RING	1024			/* candidates that can be confirmed */

/* Of the current transaction. */
static struct
{
	uint32		count;
	uint32		oldest;			/* those before it are not confirmed */
	uint32		next;			/* where the next confirmation is looked for */
}			candidates;

static uint64 ring[RING];		/* what is in them, by number; 0: not known */

void
og_candidate_add(void)
{
	ring[candidates.count++ % RING] = 0;
}

/* What the newest is found by. */
void
og_candidate_identify(uint64 content)
{
	if (candidates.count > 0)
		ring[(candidates.count - 1) % RING] = content;
}

/* Says that this one is a row now; false if there is no room. */
static bool
confirm(uint32 number)
{
	OgConfirmRecord record = {0};

	ring[number % RING] = 0;
	candidates.next = number + 1;
	record.head.type = OG_REC_CONFIRM;
	record.head.length = sizeof(record);
	record.xid = U64FromFullTransactionId(GetTopFullTransactionIdIfAny());
	record.candidate = number;
	return og_attempt_write(&record.head);
}

/*
 * og_candidate_confirm
 *		If this very row was noted as a candidate, says that it now is a row.
 *		False if it was not, or if there is no room.
 */
bool
og_candidate_confirm(uint64 content)
{
	uint32		oldest = Max(candidates.oldest, candidates.count > RING ?
							 candidates.count - RING : 0);
	uint32		from = Max(candidates.next, oldest);

	for (uint32 i = 0; i < candidates.count - oldest; i++)
	{
		uint32		number = from + i;

		if (number >= candidates.count) /* go round: older ones last */
			number -= candidates.count - oldest;
		if (ring[number % RING] == content)
			return confirm(number);
	}
	return false;
}

/* The same for the newest, which is known to be this row. */
bool
og_candidate_confirm_newest(void)
{
	return candidates.count > Max(candidates.oldest, candidates.next) &&
		confirm(candidates.count - 1);
}

/* A row that comes later must not pass for one that was rolled back. */
void
og_candidate_void_all(void)
{
	candidates.oldest = candidates.count;
}

/* The transaction has ended. */
void
og_candidate_reset(void)
{
	memset(&candidates, 0, sizeof(candidates));
}
