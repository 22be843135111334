/*
 * main.c
 *		The journal simulated: lives of a server that end at any byte.
 *
 *	sim DIRECTORY POINTS SEED [EPOCH]
 *
 * An epoch is one journal through a number of lives.  In each life backends of
 * two databases write, workers read and consume, and then the machine stops:
 * before any store, or between two calls.  The postmaster survives, or does
 * not; the file may be damaged.  After the next start it is compared with what
 * was written.  An epoch depends on its seed alone: the message of a failure
 * says how to run it again.
 */
#include "check.h"

#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "settings.h"

#define LIVES	40				/* in an epoch */
#define STEPS	60				/* in a life, at most */
#define FILE_SIZE (OG_FILE_HEADER_SIZE + SIM_SEGMENTS * OG_SEGMENT_SIZE)

static uint64 seed;
static uint32 epoch;
static uint32 life;
static uint64 points = 0;
static uint64 damaged = 0;
static uint64 renewed = 0;
static char old_file[FILE_SIZE];
static char journal[MAXPGPATH];
static bool started_anew;		/* with a new postmaster */
static bool start_stopped;		/* and that was stopped before it ran */
static bool was_damaged;		/* the file, before the last start */
static bool ever_damaged;		/* in this epoch */
static bool freeing;			/* a database's segments and its entry */
static bool opts_known;			/* the last start is noted in the journal */

void
sim_fail(const char *format,...)
{
	va_list		args;

	fflush(stdout);
	fprintf(stderr, "sim: seed " UINT64_FORMAT ", epoch %u, life %u: ", seed,
			epoch, life);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(1);
}

static uint32
any_database(void)
{
	return SIM_FIRST_DATABASE + sim_random(SIM_DATABASES);
}

/* ------------------------------------------------------------------------
 * What goes on in a life
 * ------------------------------------------------------------------------
 */

static void
step_backend(void)
{
	SimProcess *process = &sim_process[sim_random(SIM_PROCESSES)];

	if (!process->alive)
	{
		sim_fork(process, any_database());
		writer_forget(process);
	}
	else if (sim_chance(6))
		writer_finish(process);
	else
		writer_step(process);
}

/* A database without a reader: what nobody writes of it is freed. */
static void
step_free(void)
{
	uint32		database = any_database();
	uint32		dropped;

	for (int i = 0; i < model_leases(); i++)
		if (!model_lease(i)->gone && model_lease(i)->database == database)
			model_exempt_lease(model_lease(i));
	freeing = true;
	sim_switch(&sim_postmaster);
	if (sim_chance(50))
		og_journal_free_database(database);
	else
		og_journal_set_aside(database, &dropped);
	freeing = false;
	writer_set_dropped(database, og_journal_dropped(database));
}

static void
step_worker(void)
{
	uint32		database = any_database();
	bool		dies = sim_chance(10);

	worker_drain(database, dies);
	if (dies)
		worker_start(database);
}

static void
step(void)
{
	uint32		what = sim_random(1000);

	if (what < 850)
		step_backend();
	else if (what < 995)
		step_worker();
	else
		step_free();
	sim_switch(&sim_postmaster);
	check_accounts();
}

/* From another process, while a backend is writing a record. */
static void
look(void)
{
	SimProcess *running = sim_running();

	if (model_pending.record == NULL)
		return;
	sim_switch(&sim_postmaster);
	check_read(running->database);
	sim_switch(running);
}

/* What could not be written is counted, and survives. */
static void
check_dropped(void)
{
	for (int i = 0; i < SIM_DATABASES; i++)
		if (og_journal_dropped(SIM_FIRST_DATABASE + i) !=
			writer_dropped(SIM_FIRST_DATABASE + i))
			sim_fail("dropped records are not counted");
}

/* Nobody is interrupted any more: all ends and is taken in. */
static void
come_to_rest(void)
{
	for (int i = 0; i < SIM_PROCESSES; i++)
		if (sim_process[i].alive)
			writer_finish(&sim_process[i]);
	for (int i = 0; i < SIM_DATABASES; i++)
	{
		worker_drain(SIM_FIRST_DATABASE + i, false);
		if (worker_drain(SIM_FIRST_DATABASE + i, false))
			sim_fail("something stays in the journal");
	}
	check_accounts();
	check_applied();
}

/* ------------------------------------------------------------------------
 * Start
 * ------------------------------------------------------------------------
 */

/* Each segment that was in use and cannot be used is counted, no other. */
static void
check_lost(void)
{
	uint64		lost = 0;

	for (int i = 0; i < SIM_SEGMENTS; i++)
	{
		OgSegmentHeader *header = og_journal_segment(i);

		if (og_journal_shared->slot[i].state == OG_SEGMENT_FREE &&
			header->lease != 0 && header->tail.value != sizeof(*header))
			lost++;
	}
	if (lost > 0 && !ever_damaged)
		sim_fail("a stop damaged a segment");
	if (og_journal_corrupt() != lost)
		sim_fail("%d segments are damaged, " UINT64_FORMAT " are counted",
				 (int) lost, og_journal_corrupt());
}

/* What was in damaged segments is gone, what came back is known again. */
static void
note_damage(void)
{
	for (int i = 0; i < SIM_SEGMENTS; i++)
	{
		ModelLease *lease = model_find(og_journal_shared->slot[i].lease);

		if (lease && lease->gone && model_stale)
			lease->gone = false;
	}
	for (int i = 0; i < model_leases(); i++)
	{
		ModelLease *lease = model_lease(i);

		if (lease->gone || og_journal_shared->slot[lease->segment].lease ==
			lease->lease)
			continue;
		model_exempt_lease(lease);
		lease->gone = true;
	}
}

static void
check_start(bool give_up)
{
	uint32		incarnation = og_journal_incarnation();
	bool		gap = og_journal_gap() == incarnation;

	if (og_journal_recreated() && !give_up)
		sim_fail("the journal was given up for nothing");
	if (!og_journal_recreated() && give_up && !start_stopped)
		sim_fail("a journal was used that cannot be trusted");
	if (!og_journal_recreated() && !model_stale &&
		gap != (started_anew && !opts_known))
		sim_fail(gap ? "a gap that was none" : "a gap was not seen");
	if (give_up)
		memcpy(old_file, og_journal_file.base, FILE_SIZE);
	if (was_damaged || freeing)
		for (int i = 0; i < SIM_DATABASES; i++)
			writer_set_dropped(SIM_FIRST_DATABASE + i,
							   og_journal_dropped(SIM_FIRST_DATABASE + i));
	freeing = false;
}

/* The launcher comes to life, mostly. */
static void
start_launcher(void)
{
	uint64		fence = 0;
	bool		is_next = false;

	sim_touch_opts();
	opts_known = sim_chance(95);
	if (!opts_known)
		return;
	og_journal_store_fence();
	if (!og_journal_fence_after(og_journal_incarnation() - 1, &fence,
								&is_next) ||
		!is_next || fence != sim_next_xid)
		sim_fail("the fence is not known");
}

/* With a chance that the start itself is stopped, and done again. */
static void
start(bool give_up)
{
	start_stopped = false;
	if (setjmp(sim_stopped) == 0)
	{
		if (sim_chance(10))
			sim_arm(sim_random(12), true);
	}
	else
	{
		start_stopped = started_anew = true;
		sim_stop_all(true);
		sim_start_postmaster();
		return;
	}
	if (started_anew)
		sim_start_postmaster();
	else
		sim_restart_backends();
	sim_disarm();
}

/* ------------------------------------------------------------------------
 * Lives
 * ------------------------------------------------------------------------
 */

/* The machine runs until it stops. */
static void
run(void)
{
	uint32		steps = 1 + sim_random(STEPS);

	if (setjmp(sim_stopped) != 0)
		return;
	if (sim_chance(50))
		sim_arm(sim_random(8000), false);
	else
		sim_arm(sim_random(200), true);
	while (steps-- > 0)
		step();
	check_dropped();
	sim_disarm();
}

/* All processes end; returns whether the journal is to be given up. */
static bool
stop(void)
{
	char		path[MAXPGPATH];
	bool		give_up = false;
	static char now[FILE_SIZE];

	strlcpy(path, og_journal_file.path, sizeof(path));
	sim_disarm();
	sim_switch(&sim_postmaster);
	memcpy(now, og_journal_file.base, FILE_SIZE);
	model_resolve(now);
	started_anew = sim_chance(50);
	sim_stop_all(started_anew);
	was_damaged = started_anew && sim_chance(40);
	if (was_damaged)
	{
		give_up = damage_file(path, old_file, FILE_SIZE);
		ever_damaged = true;
		damaged++;
	}
	if (started_anew && sim_chance(5))
	{
		sim_touch_opts();		/* it ran without us */
		opts_known = false;
	}
	if (sim_chance(30))
		memcpy(old_file, now, FILE_SIZE);
	if (give_up)
	{
		model_reset();
		opts_known = false;
		renewed++;
	}
	return give_up;
}

/* What is to be seen after a start. */
static void
look_around(bool give_up)
{
	sim_switch(&sim_postmaster);
	check_start(give_up);
	check_lost();
	if (was_damaged)
		note_damage();
	start_launcher();
	check_accounts();
	for (int i = 0; i < SIM_DATABASES; i++)
	{
		check_read(SIM_FIRST_DATABASE + i);
		worker_start(SIM_FIRST_DATABASE + i);
	}
	if (!was_damaged && !give_up)
		check_dropped();
}

static void
begin_epoch(void)
{
	sim_seed(seed * 1000003 + epoch);
	sim_stop_all(true);
	unlink(journal);
	unlink("pg_stat_tmp/order_guard.nonce");
	model_reset();
	writer_reset();
	sim_touch_opts();
	started_anew = true;
	was_damaged = ever_damaged = false;
	opts_known = false;
	start(true);
	strlcpy(journal, og_journal_file.path, sizeof(journal));
	for (int i = 0; i < SIM_DATABASES; i++)
		writer_set_dropped(SIM_FIRST_DATABASE + i, 0);
	look_around(true);
}

/* One journal, through its lives. */
static void
run_epoch(void)
{
	life = 0;
	begin_epoch();
	for (life = 1; life <= LIVES; life++)
	{
		bool		give_up;

		run();
		give_up = stop();
		start(give_up);
		look_around(give_up);
		points++;
		if (model_stale)
			break;				/* numbers may be given out again */
	}
	come_to_rest();
}

int
main(int argc, char **argv)
{
	uint64		wanted;
	bool		only = argc == 5;

	if (argc < 4 || chdir(argv[1]) != 0)
	{
		fprintf(stderr, "usage: sim DIRECTORY POINTS SEED [EPOCH]\n");
		return 2;
	}
	wanted = strtoull(argv[2], NULL, 10);
	seed = strtoull(argv[3], NULL, 10);
	epoch = only ? strtoul(argv[4], NULL, 10) : 0;
	DataDir = og_journal_directory = ".";
	mkdir("pg_stat_tmp", 0700);
	sim_machine_init();
	sim_boot();
	sim_probe = look;
	for (; points < wanted; epoch++)
	{
		run_epoch();
		if (only)
			break;
	}
	printf(UINT64_FORMAT " stops, " UINT64_FORMAT " with a damaged file, "
		   UINT64_FORMAT " journals given up, " UINT64_FORMAT " stores, "
		   "seed " UINT64_FORMAT "\n", points, damaged, renewed, sim_stores,
		   seed);
	return 0;
}
