/*
 * drop.c
 *		DROP EXTENSION while tables are watched.
 *
 * Runs in backends, before the statement.  The triggers on watched tables
 * would make it fail with a hint at CASCADE; the way is unwatch_all().
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"

#include "drop.h"
#include "rights.h"

/* DROP EXTENSION [ IF EXISTS ] order_guard [ RESTRICT ]; no more than that. */
static bool
drops_extension(Node *node)
{
	DropStmt   *drop = (DropStmt *) node;

	return IsA(node, DropStmt) && drop->removeType == OBJECT_EXTENSION &&
		drop->behavior == DROP_RESTRICT && list_length(drop->objects) == 1 &&
		strcmp(strVal(linitial(drop->objects)), "order_guard") == 0 &&
		OidIsValid(get_extension_oid("order_guard", true));
}

/* Tables that are there and watched; 0 if the role may not drop anyway. */
static int64
count_watched(void)
{
	static const char sql[] =
		"SELECT count(*) FROM order_guard.watch w "
		"JOIN pg_class c ON c.oid = w.relation "
		"WHERE pg_has_role($1, (SELECT e.extowner FROM pg_extension e "
		"WHERE e.extname = 'order_guard'), 'USAGE')";
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(GetUserId())};
	OgRights	saved;
	int64		count = 0;
	bool		isnull;

	SPI_connect();
	og_rights_raise(&saved);
	if (SPI_execute_with_args(sql, 1, types, values, NULL, true, 1) ==
		SPI_OK_SELECT)
		count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
											SPI_tuptable->tupdesc, 1,
											&isnull));
	og_rights_restore(&saved);
	SPI_finish();
	return count;
}

/*
 * og_drop_check
 *		Throws if a statement drops the extension while tables are watched.
 */
void
og_drop_check(Node *statement)
{
	int64		count;

	if (!drops_extension(statement) || RecoveryInProgress())
		return;
	count = count_watched();
	if (count > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg_plural("cannot drop extension order_guard because %lld table is watched",
							   "cannot drop extension order_guard because %lld tables are watched",
							   count, (long long) count),
				 errhint("SELECT order_guard.unwatch_all(); first.")));
}
