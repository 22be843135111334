/*
 * tick.h
 *		What a worker does in one tick.
 */
#ifndef OG_TICK_H
#define OG_TICK_H

typedef struct OgTickResult
{
	uint64		drained;		/* journal records consumed */
	int			opened;			/* incidents */
	int			cleared;
	uint64		tracked;		/* orders in the tracker now */
} OgTickResult;

/*
 * Part of the journal is gone, which is counted as the drop with this number:
 * the next start puts it on record.
 */
extern void og_tick_journal_lost(uint32 dropped);

/* Once, when a worker has connected; outside a transaction. */
extern void og_tick_start(void);

/*
 * A tick; whole: also what is otherwise done only now and then.  Called
 * outside a transaction, runs its own.  May throw: the
 * caller aborts, backs off and calls og_tick_start() again.
 */
extern void og_tick_run(bool whole, OgTickResult *result);

/*
 * Between two ticks: reads what is in the journal.  False if a tick has to
 * come first, since something has changed.  Otherwise like og_tick_run().
 */
extern bool og_tick_drain(OgTickResult *result);

/* Segments in which the last drain left something, as it is still open. */
extern int	og_tick_left(void);

#endif							/* OG_TICK_H */
