/*
 * worker.h
 *		The process that serves one database.
 */
#ifndef OG_WORKER_H
#define OG_WORKER_H

#include "fmgr.h"

/* BackgroundWorker's main function; the argument is the database's Oid. */
extern PGDLLEXPORT void og_worker_main(Datum database);

#endif							/* OG_WORKER_H */
