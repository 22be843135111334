/*
 * machine.h
 *		The simulated machine: processes, shared memory, files, and the stop
 *		at any store.
 */
#ifndef SIM_MACHINE_H
#define SIM_MACHINE_H

#include "postgres.h"

#include <setjmp.h>

#include "journal.h"
#include "journal_private.h"

#define SIM_PROCESSES	5		/* backends that write */
#define SIM_SEGMENTS	6		/* so few that the pool runs dry */

/* What a process has for itself: the variables of the journal's sources. */
typedef struct SimProcess
{
	bool		alive;
	int			pid;
	uint32		database;
	void		(*exit_callback) (int, Datum);
	char	   *image;
} SimProcess;

extern SimProcess sim_process[SIM_PROCESSES];
extern SimProcess sim_postmaster;
extern bool sim_locked;

/* numbers from the seed */
extern void sim_seed(uint64 seed);
extern uint32 sim_random(uint32 below);
extern bool sim_chance(uint32 percent);

/* processes */
extern void sim_machine_init(void);
extern void sim_switch(SimProcess *process);
extern SimProcess *sim_running(void);
extern void sim_fork(SimProcess *process, uint32 database);
extern void sim_exit(SimProcess *process);
extern void sim_memory_reset(void);

/* the server */
extern void sim_start_postmaster(void);
extern void sim_restart_backends(void);
extern void sim_stop_all(bool postmaster);
extern void sim_touch_opts(void);
extern void sim_boot(void);
extern uint64 sim_next_xid;

/* stops: at the n-th byte, or at the n-th store that is not a record's */
extern jmp_buf sim_stopped;
extern void sim_arm(uint32 stores, bool rare);
extern void sim_disarm(void);
extern bool sim_armed(void);
extern uint64 sim_stores;
/* called at some stores, to look from another process */
extern void (*sim_probe) (void);

extern void sim_fail(const char *format,...) pg_attribute_printf(1, 2)
			pg_attribute_noreturn();

#endif							/* SIM_MACHINE_H */
