/*
 * durable.h
 *		Will a commit that one sees still be there after a crash?
 */
#ifndef OG_DURABLE_H
#define OG_DURABLE_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

extern Size og_durable_shmem_size(void);
extern void og_durable_init_shmem(void);

/* Is it on disk, and where standbys are synchronous on theirs? */
extern bool og_durable(TransactionId xid, XLogRecPtr lsn);

/* when it committed; 0: not recorded */
extern TimestampTz og_durable_time(TransactionId xid);

#endif							/* OG_DURABLE_H */
