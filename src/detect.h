/*
 * detect.h
 *		The detectors: each finds one kind of incident, in a transaction of
 *		the worker with SPI connected.
 */
#ifndef OG_DETECT_H
#define OG_DETECT_H

#include "incident.h"
#include "watch.h"

extern void og_detect_stalled(OgWatch *watch);
extern void og_detect_restore(void);
extern void og_detect_vanished_again(const OgWatch *watch);
extern void og_detect_vanished(OgWatch *watch);
extern void og_detect_uncommitted(void);
extern void og_detect_duplicates(void);
extern void og_detect_prepared(void);
extern OgIncident og_detect_read_found(const char *kind, int row);
extern bool og_detect_coverage_open(const OgWatch *watch);
extern void og_detect_coverage(OgWatch *watch);
extern void og_sweep_step(OgWatch *watch);
extern void og_detect_recovery(OgWatch *watch);

/* shared by them */
extern void og_detect_hash(unsigned char *hash, const char *what, int watch);
extern char *og_detect_age(int64 microseconds);
extern char *og_detect_json(const char *const *names,
							const char *const *values, int n);

#endif							/* OG_DETECT_H */
