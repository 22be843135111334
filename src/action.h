/*
 * action.h
 *		What people do about incidents.
 */
#ifndef OG_ACTION_H
#define OG_ACTION_H

/*
 * The worker, in a short transaction of its own, SPI connected, as superuser:
 * carries out what people queued.  Returns the number of actions.
 */
extern int	og_action_run(void);

#endif							/* OG_ACTION_H */
