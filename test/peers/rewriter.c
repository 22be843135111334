/*
 * rewriter.c
 *		A log hook that gives each duplicate key a code of its own, as Citus
 *		does with some errors.  Who comes after it sees that code.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/elog.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static emit_log_hook_type previous = NULL;

static void
rewrite(ErrorData *edata)
{
	if (previous)
		previous(edata);
	if (edata->sqlerrcode == ERRCODE_UNIQUE_VIOLATION)
		edata->sqlerrcode = MAKE_SQLSTATE('O', 'G', '9', '9', '9');
}

void
_PG_init(void)
{
	previous = emit_log_hook;
	emit_log_hook = rewrite;
}
