/*
 * policy_set.c
 *		set_policy(), alter_policy(), drop_policy().
 *
 * Runs in the backend of whoever asks.  Rights are checked here, with those
 * of the current role; what is written is checked and written by SQL
 * functions that run as the extension's owner.
 *
 * The row of the policy is locked first, always: the worker skips a policy
 * that somebody holds, and so never waits for what is written after it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "action_private.h"
#include "incident_private.h"
#include "rights.h"

PG_FUNCTION_INFO_V1(og_policy_set);
PG_FUNCTION_INFO_V1(og_policy_alter);
PG_FUNCTION_INFO_V1(og_policy_drop);

static void
check_may_set(Oid relation)
{
	if (OidIsValid(relation) ? og_rights_owns(relation) : superuser())
		return;
	if (!OidIsValid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to set a policy for all tables"),
				 errhint("Name a table of yours as relation.")));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be owner of table %s", get_rel_name(relation) ?
					get_rel_name(relation) : psprintf("%u", relation))));
}

/*
 * Only who set a policy, whoever is a member of that role and superusers may
 * change it.  SPI is connected.
 */
static void
check_owns(const char *name)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name)};
	Oid			owner = InvalidOid;

	og_action_sql("SELECT p.owner FROM order_guard.policy p "
				  "WHERE p.name = $1", 1, types, values, NULL);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("policy \"%s\" does not exist", name),
				 errhint("order_guard.policies lists them.")));
	owner = get_role_oid(og_incident_column(0, 1), true);
	if (OidIsValid(owner) ? has_privs_of_role(GetUserId(), owner) :
		superuser())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be owner of policy \"%s\"", name)));
}

/*
 * What is wrong with a policy is told without the functions that found it.
 */
static void
write_policy(const Oid *types, Datum *values, const char *nulls)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		og_action_sql("SELECT order_guard._write_policy($1, $2, $3, $4, $5, "
					  "$6, $7, $8, $9, $10, $11)", 11, types, values, nulls);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		error->context = NULL;
		ThrowErrorData(error);
	}
	PG_END_TRY();
}

/*
 * order_guard.set_policy(name text, kind text, action text, after interval,
 * relation regclass, where_status text[], max_tries integer, backoff
 * interval, args jsonb, dry_run boolean)
 */
Datum
og_policy_set(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"name", "kind", "action", "after",
		NULL, NULL, "max_tries", "backoff", "args", "dry_run"};
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, INTERVALOID,
		REGCLASSOID, TEXTARRAYOID, INT4OID, INTERVALOID, JSONBOID, BOOLOID,
	NAMEOID};
	Datum		values[11];
	char		nulls[] = "           ";
	NameData	owner;

	for (int i = 0; i < lengthof(names); i++)
	{
		if (names[i])
			og_request_refuse_null(fcinfo, i, names[i]);
		values[i] = PG_GETARG_DATUM(i);
		if (PG_ARGISNULL(i))
			nulls[i] = 'n';
	}
	check_may_set(PG_ARGISNULL(4) ? InvalidOid : PG_GETARG_OID(4));
	og_action_check_kind(values[1]);
	namestrcpy(&owner, GetUserNameFromId(GetUserId(), false));
	values[10] = NameGetDatum(&owner);
	SPI_connect();
	write_policy(types, values, nulls);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * order_guard.alter_policy(name text, dry_run boolean, enabled boolean)
 */
Datum
og_policy_alter(PG_FUNCTION_ARGS)
{
	Oid			types[] = {TEXTOID, BOOLOID, BOOLOID};
	Datum		values[3];
	char		nulls[] = "   ";

	og_request_refuse_null(fcinfo, 0, "name");
	for (int i = 0; i < 3; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		if (PG_ARGISNULL(i))
			nulls[i] = 'n';
	}
	if (PG_ARGISNULL(1) && PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("alter_policy() is told to change nothing"),
				 errhint("Give dry_run or enabled; all else is set anew by "
						 "order_guard.set_policy().")));
	SPI_connect();
	check_owns(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	og_action_sql("SELECT order_guard._alter_policy($1, $2, $3)", 3, types,
				  values, nulls);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * order_guard.drop_policy(name text)
 */
Datum
og_policy_drop(PG_FUNCTION_ARGS)
{
	Oid			types[] = {TEXTOID};
	Datum		values[1];

	og_request_refuse_null(fcinfo, 0, "name");
	values[0] = PG_GETARG_DATUM(0);
	SPI_connect();
	check_owns(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	og_action_sql("SELECT order_guard._drop_policy($1)", 1, types, values,
				  NULL);
	SPI_finish();
	PG_RETURN_VOID();
}
