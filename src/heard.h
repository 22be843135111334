/*
 * heard.h
 *		What a client was told of the end of its transactions.
 */
#ifndef OG_HEARD_H
#define OG_HEARD_H

#include "nodes/parsenodes.h"
#include "utils/elog.h"

#include "journal.h"

extern void og_heard_init(void);
extern void og_heard_log(const ErrorData *edata);

/* statements */
extern void og_heard_statement(void);
extern void og_heard_look(const TransactionStmt *statement);

/* ends of transactions: these store only, and cannot fail */
extern void og_heard_subabort(const OgError *error);
extern void og_heard_reason(OgError *error, bool in_statement);
extern void og_heard_end(void);
extern void og_heard_committed(const OgEndRecord *end);
extern void og_heard_rolled_back(const OgEndRecord *end);

#endif							/* OG_HEARD_H */
