/*
 * attempt.h
 *		One transaction's work on orders, as its backend notes it.
 */
#ifndef OG_ATTEMPT_H
#define OG_ATTEMPT_H

#include "executor/execdesc.h"
#include "utils/elog.h"

#include "journal.h"

extern void og_attempt_init(void);

/* capture */
extern bool og_attempt_active(void);
extern bool og_attempt_queue(void);
extern OgBulkRecord *og_attempt_count(uint32 watch, Oid relation);
extern void og_attempt_unitemise(void);
extern bool og_attempt_admit(void);
extern bool og_attempt_write(OgRecord *record);
extern uint32 og_attempt_statement(void);

/* statements: called by the executor and utility hooks */
typedef struct OgStatement
{
	ErrorContextCallback callback;
	QueryDesc  *query;			/* NULL: a utility statement */
	Node	   *utility;		/* NULL: a query */
	int			level;
	uint32		watch;			/* what it has been found to write to */
	Oid			relation;
	struct OgStatement *outer;
	Oid			outer_target;	/* what the one around it writes to */
	uint32		outer_watch;
} OgStatement;

extern OgStatement *og_attempt_running;

extern void og_attempt_enter(OgStatement *statement, QueryDesc *query,
							 Node *utility, bool starts);
extern void og_attempt_leave(OgStatement *statement, bool failed);
extern void og_attempt_expect(QueryDesc *query);
extern void og_attempt_set_gid(const char *gid);
extern void og_attempt_log(ErrorData *error);

#endif							/* OG_ATTEMPT_H */
