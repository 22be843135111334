/*
 * launcher.h
 *		One launcher for the server, one worker for each database that has
 *		the extension.
 */
#ifndef OG_LAUNCHER_H
#define OG_LAUNCHER_H

#include "nodes/nodes.h"

/* start of the server */
extern void og_launcher_request_shmem(void);
extern void og_launcher_init_shmem(void);
extern void og_launcher_register(void);

/* the launcher's process */
extern PGDLLEXPORT void og_launcher_main(Datum arg);

/*
 * A backend has begun another segment of this database's journal.  The worker
 * drains when there are enough of them, or at once if that is urgent.  Takes
 * no lock and cannot fail.
 */
extern void og_launcher_note_work(Oid database, bool urgent);

/*
 * Has the worker of this database tick now, also of one nobody has heard of
 * yet; takes a lock.
 */
extern void og_launcher_poke(Oid database);

/*
 * ProcessUtility, before the statement (afterwards its tree may be gone).
 * What it does ends by itself with the top-level transaction.  May throw.
 */
extern void og_launcher_before_utility(Node *parsetree);

#endif							/* OG_LAUNCHER_H */
