/*
 * handler.h
 *		Handlers: functions of a table's owner that deal with incidents.
 */
#ifndef OG_HANDLER_H
#define OG_HANDLER_H

#include "watch.h"

/*
 * The worker, with SPI connected.  Once a tick og_handler_begin_tick(); then
 * og_handler_take() while it is true, each time followed, in transactions of
 * their own, by og_handler_call(), or by og_handler_lost() if that or its
 * COMMIT throws.
 */
extern void og_handler_begin_tick(void);
extern bool og_handler_take(void);
extern void og_handler_call(void);
extern void og_handler_lost(const ErrorData *error);

/* What is wrong with a watch's handlers, or NULL. */
extern char *og_handler_problem(const OgWatch *watch);

/* Notes that on the watch. */
extern void og_handler_check(OgWatch *watch);

#endif							/* OG_HANDLER_H */
