/*
 * launcher.h
 *		One launcher for the server, one worker for each database that has
 *		the extension.
 */
#ifndef OG_LAUNCHER_H
#define OG_LAUNCHER_H

#include "nodes/nodes.h"

extern void og_launcher_request_shmem(void);
extern void og_launcher_init_shmem(void);
extern void og_launcher_register(void);

/* any backend: have the worker of this database tick now */
extern void og_launcher_wake_worker(Oid database);

/* ProcessUtility: DROP, RENAME, TEMPLATE ... of a database */
extern Oid	og_launcher_hold_for(Node *parsetree);
extern void og_launcher_release(Oid database);

#endif							/* OG_LAUNCHER_H */
