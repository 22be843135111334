/*
 * policy.h
 *		What the worker does about incidents by itself.
 */
#ifndef OG_POLICY_H
#define OG_POLICY_H

/*
 * All in transactions of the worker of their own, SPI connected, as
 * superuser.  First the work of a tick is planned, in the current memory
 * context; then it goes on piece by piece, for as long as there is time.
 */
extern void og_policy_plan(void);
extern bool og_policy_goes_on(int n);

/*
 * Does a piece of it, and notes what came of that.  True: to be called again,
 * in another transaction.  May throw.
 */
extern bool og_policy_act(int n);

/* Notes what a piece threw; in a transaction after that. */
extern void og_policy_failed(int n, ErrorData *error);

/* Notes what came of queued actions; clears what was suspended. */
extern void og_policy_collect(void);

#endif							/* OG_POLICY_H */
