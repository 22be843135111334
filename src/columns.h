/*
 * columns.h
 *		The columns that the arguments of a watch's triggers name.
 */
#ifndef OG_COLUMNS_H
#define OG_COLUMNS_H

#include "utils/reltrigger.h"

typedef struct OgColumnName
{
	char		role;			/* see captured.c */
	int			attnum;			/* in the table that is watched */
	char		name[NAMEDATALEN];
} OgColumnName;

extern bool og_columns_is_ours(const Trigger *trigger);
extern uint32 og_columns_watch(const Trigger *trigger);
extern uint32 og_columns_watch_of(const TriggerDesc *triggers);
extern const char *og_columns_first(const Trigger *trigger);
extern bool og_columns_next(const char **place, OgColumnName *column);

#endif							/* OG_COLUMNS_H */
