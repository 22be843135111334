/*
 * check.h
 *		What has to hold.
 */
#ifndef SIM_CHECK_H
#define SIM_CHECK_H

#include "model.h"

extern void check_accounts(void);
extern void check_read(uint32 database);
extern void check_reading(OgReading *reading, uint32 database);
extern void check_applied(void);

/* worker.c */
extern void worker_start(uint32 database);
extern bool worker_drain(uint32 database, bool dies);

/* writer.c */
extern void writer_step(SimProcess *process);
extern void writer_finish(SimProcess *process);
extern void writer_reset(void);
extern void writer_forget(SimProcess *process);
extern uint64 writer_dropped(uint32 database);
extern void writer_set_dropped(uint32 database, uint64 n);

/* damage.c */
extern bool damage_file(const char *path, const char *old, size_t size);

#endif							/* SIM_CHECK_H */
