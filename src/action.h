/*
 * action.h
 *		What people do about incidents.
 */
#ifndef OG_ACTION_H
#define OG_ACTION_H

#include "nodes/pg_list.h"

/* start of the server */
extern void og_action_request_shmem(void);
extern void og_action_init_shmem(void);

/*
 * The worker, as superuser.  og_action_serve(), outside a transaction: writes
 * down what people ask for.  og_action_queued(), in a transaction, SPI
 * connected: what is to be carried out, in the current memory context.
 * og_action_run(), outside a transaction: carries it out.
 */
extern void og_action_serve(void);
extern List *og_action_queued(void);
extern void og_action_run(List *queue);

/*
 * Is this the name of a prepared transaction that belongs to a transaction
 * manager, which alone knows its fate?  Policies leave it alone.
 */
extern bool og_gid_is_foreign(const char *gid);

#endif							/* OG_ACTION_H */
