/*
 * captured.h
 *		What a watch's trigger is to note, as the backend keeps it.
 */
#ifndef OG_CAPTURED_H
#define OG_CAPTURED_H

#include "utils/rel.h"

/* Anybody can make a trigger with any arguments: what is past this is left. */
#define OG_MAX_COLUMNS 40

/* What a column is looked at for. */
#define OG_IS_NOTED	0x01		/* its value is written down */
#define OG_IS_KEY		0x02		/* it says which order it is */
#define OG_IS_JUDGED	0x04		/* a change of it is of interest */

typedef struct OgColumn
{
	uint8		uses;
	uint8		value_role;		/* OgValueRole, if OG_IS_NOTED */
	bool		byval;
	int16		attnum;
	int16		length;
	Oid			type;
} OgColumn;

/* A relation with triggers, and how often it has changed. */
typedef struct OgChanged
{
	Oid			relation;		/* hash key */
	uint32		times;
} OgChanged;

/*
 * What a trigger is to note.  Anybody with the right to make a trigger can
 * make one that says something else than the watch's own on that relation.
 */
typedef struct OgCaptured
{
	Oid			trigger;		/* hash key */
	Oid			relation;
	const OgChanged *changed;
	uint32		as_of;			/* changed->times */
	bool		every_change;	/* not all columns have found room */
	bool		keeps_candidate;	/* it is not changed before it is a row */
	uint32		watch;
	int			ncolumns;
	OgColumn	column[OG_MAX_COLUMNS];
} OgCaptured;

extern void og_captured_init(void);
extern const OgCaptured *og_captured_find(Relation relation,
										  const Trigger *trigger);

#endif							/* OG_CAPTURED_H */
