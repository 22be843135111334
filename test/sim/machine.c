/*
 * machine.c
 *		The simulated machine.
 *
 * The journal's sources are compiled as they are.  Their variables lie in one
 * section, og_state (objcopy puts them there): a process is a copy of that
 * section, to fork is to copy the postmaster's, to switch is to exchange it.
 * The file is a real one, mapped by the journal's own code.
 */
#include "machine.h"

#include "miscadmin.h"
#include "stops.h"

extern char __start_og_state[];
extern char __stop_og_state[];

SimProcess	sim_process[SIM_PROCESSES];
SimProcess	sim_postmaster;

static SimProcess *running = &sim_postmaster;
static char *pristine;			/* the variables before anything ran */
static uint64 random_state;

/* ------------------------------------------------------------------------
 * Numbers
 * ------------------------------------------------------------------------
 */

void
sim_seed(uint64 seed)
{
	random_state = seed * UINT64CONST(0x9E3779B97F4A7C15) + 1;
}

/* splitmix64 */
uint32
sim_random(uint32 below)
{
	uint64		z = random_state += UINT64CONST(0x9E3779B97F4A7C15);

	z = (z ^ (z >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64CONST(0x94D049BB133111EB);
	return (uint32) ((z ^ (z >> 31)) >> 32) % below;
}

bool
sim_chance(uint32 percent)
{
	return sim_random(100) < percent;
}

/* ------------------------------------------------------------------------
 * Processes
 * ------------------------------------------------------------------------
 */

/* By hand: a sanitizer's memcpy() minds the gaps between variables. */
static void
copy_state(char *to, const char *from)
{
	size_t		n = __stop_og_state - __start_og_state;
	size_t		i = 0;

	for (; i + sizeof(uint64) <= n; i += sizeof(uint64))
		*(uint64 *) (to + i) = *(const uint64 *) (from + i);
	for (; i < n; i++)
		to[i] = from[i];
}

static char *
new_image(void)
{
	char	   *image = malloc(__stop_og_state - __start_og_state);

	copy_state(image, __start_og_state);
	return image;
}

void
sim_machine_init(void)
{
	pristine = new_image();
	sim_postmaster.image = new_image();
	for (int i = 0; i < SIM_PROCESSES; i++)
		sim_process[i].image = new_image();
}

SimProcess *
sim_running(void)
{
	return running;
}

void
sim_switch(SimProcess *process)
{
	if (process == running)
		return;
	copy_state(running->image, __start_og_state);
	copy_state(__start_og_state, process->image);
	running = process;
	MyProcPid = process->pid;
	MyDatabaseId = process->database;
}

/* A child of the postmaster; it does not run yet. */
void
sim_fork(SimProcess *process, uint32 database)
{
	static int	pids = 1000;

	sim_switch(&sim_postmaster);
	copy_state(process->image, __start_og_state);
	process->alive = true;
	process->pid = ++pids;
	process->database = database;
	process->exit_callback = NULL;
}

/* It ends in order. */
void
sim_exit(SimProcess *process)
{
	sim_switch(process);
	if (process->exit_callback)
		process->exit_callback(0, (Datum) 0);
	sim_switch(&sim_postmaster);
	process->alive = false;
}

/*
 * All backends are gone, and with "postmaster" also that one, with its files
 * and its mapping.
 */
void
sim_stop_all(bool postmaster)
{
	sim_disarm();
	sim_switch(&sim_postmaster);
	for (int i = 0; i < SIM_PROCESSES; i++)
		sim_process[i].alive = false;
	if (!postmaster)
		return;
	sim_close_all();
	copy_state(__start_og_state, pristine);
}
