/*
 * fault.h
 *		Injected failures, in builds with DEBUG_FAULTS=1 only.
 *
 * A callback at commit or abort must not throw, so a failure there means that
 * its record cannot be written.  order_guard.fault names the place.  Elsewhere
 * the process kills itself, or hangs until it is killed.
 */
#ifndef OG_FAULT_H
#define OG_FAULT_H

#ifdef OG_FAULTS
#include <signal.h>

extern char *og_fault;
#define OG_FAULT(place) (og_fault != NULL && strcmp(og_fault, place) == 0)
#define OG_CRASH(place, condition) \
	do { \
		if (OG_FAULT(place) && (condition)) \
			kill(MyProcPid, SIGKILL); \
	} while (0)
#define OG_HANG(place) \
	while (OG_FAULT(place)) \
		pg_usleep(10000L)
#else
#define OG_FAULT(place) false
#define OG_HANG(place) ((void) 0)
#define OG_CRASH(place, condition) ((void) 0)
#endif

#endif							/* OG_FAULT_H */
