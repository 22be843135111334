/*
 * watch_ddl.h
 *		What watch() needs of C: expressions over a table's row.
 */
#ifndef OG_WATCH_DDL_H
#define OG_WATCH_DDL_H

#include "nodes/bitmapset.h"
#include "utils/relcache.h"

/* An expression over one row of a table, analysed but never evaluated. */
typedef struct OgExpression
{
	char	   *text;			/* canonical, in parentheses */
	Oid			type;
	Bitmapset  *columns;		/* attribute numbers it reads */
} OgExpression;

/* A column that was renamed since an expression's text was made. */
typedef struct OgRename
{
	AttrNumber	attnum;
	char	   *old_name;
} OgRename;

extern void og_watch_check_owner(Oid relation);
extern void og_expression_analyze(Relation relation, const char *text,
								  bool is_amount, List *renames,
								  OgExpression *result);
extern Datum og_expression_column_names(Relation relation,
										const OgExpression *expression);

#endif							/* OG_WATCH_DDL_H */
