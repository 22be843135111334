/*
 * model.h
 *		What the simulator knows of all that was ever written.
 */
#ifndef SIM_MODEL_H
#define SIM_MODEL_H

#include "machine.h"
#include "reader.h"

#define SIM_DATABASES	2
#define SIM_FIRST_DATABASE	5

typedef struct ModelXact
{
	uint64		session;
	uint32		number;
	uint32		database;
	int			rows;			/* published */
	int			first_key;
	uint8		outcome;		/* of the published end; OG_OPEN: none */
	bool		failure;		/* has a published failure, but perhaps no row */
	bool		owned;			/* its backend lives */
	bool		exempt;			/* damaged or thrown away: need not be found */
	bool		applied;		/* its effects are committed */
} ModelXact;

typedef struct ModelRecord
{
	uint32		offset;
	uint32		length;
	ModelXact  *xact;			/* NULL: of a session */
} ModelRecord;

typedef struct ModelLease
{
	uint64		lease;
	uint32		database;
	int			segment;
	uint32		tail;			/* published */
	bool		gone;			/* the segment has been freed */
	bool		damaged;
	int			nrecords;
	ModelRecord record[OG_SEGMENT_SIZE / 16];
	char		bytes[OG_SEGMENT_SIZE];
} ModelLease;

/* What is being written, should the machine stop now. */
typedef struct ModelPending
{
	SimProcess *process;		/* NULL: nothing */
	OgRecord   *record;			/* NULL: at most a session's */
	ModelXact  *xact;
} ModelPending;

/* The durable position of the databases' workers, as order_guard.position. */
typedef struct ModelPosition
{
	uint64		lease;
	uint32		database;
	uint32		consumed;
} ModelPosition;

#define MODEL_POSITIONS 64

extern ModelPending model_pending;
extern ModelPosition model_position[MODEL_POSITIONS];
extern int	model_positions;
extern bool model_stale;		/* old content may have come back */

extern void model_reset(void);
extern ModelLease *model_find(uint64 lease);
extern ModelLease *model_lease(int n);
extern int	model_leases(void);
extern ModelXact *model_new_xact(SimProcess *process, uint64 session,
								 uint32 number);
extern ModelXact *model_find_xact(uint64 session, uint32 number);
extern ModelXact *model_xact(int n);
extern int	model_xacts(void);
extern void model_exempt_lease(ModelLease *lease);
extern void model_publish(void);
extern void model_resolve(const char *file);
extern bool model_same_record(const char *a, const char *b);

#endif							/* SIM_MODEL_H */
