/*
 * fault.h
 *		Injected failures, in builds with DEBUG_FAULTS=1 only.
 *
 * A callback at commit or abort must not throw, so a failure there means that
 * its record cannot be written.  order_guard.fault names the place.
 */
#ifndef OG_FAULT_H
#define OG_FAULT_H

#ifdef OG_FAULTS
extern char *og_fault;
#define OG_FAULT(place) (og_fault != NULL && strcmp(og_fault, place) == 0)
#else
#define OG_FAULT(place) false
#endif

#endif							/* OG_FAULT_H */
