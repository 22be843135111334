/*
 * rights.c
 *		Who may see and do what, and acting as the extension's owner.
 *
 * Runs in backends.  People have no privileges on order_guard's tables.  The
 * functions that write for them are in C: they decide with the rights of the
 * current role, raise their own for one statement on those tables, and
 * restore them before anything of the caller's runs.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "rights.h"

/*
 * Owner of a relation, InvalidOid if there is no such relation.
 */
static Oid
owner_of(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/*
 * og_rights_raise
 *		Lets the extension's owner act until og_rights_restore().
 */
void
og_rights_raise(OgRights *saved)
{
	Oid			schema = get_namespace_oid("order_guard", false);
	Oid			owner = owner_of(get_relname_relid("incident", schema));

	if (!OidIsValid(owner))
		elog(ERROR, "order_guard.incident is missing");
	GetUserIdAndSecContext(&saved->user, &saved->context);
	SetUserIdAndSecContext(owner,
						   saved->context | SECURITY_LOCAL_USERID_CHANGE);
	og_trust_limit(OG_TRUST_OWN);
	saved->nest = NewGUCNestLevel();
	set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
					  PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * og_rights_restore
 *		Back to the caller's rights and settings.
 */
void
og_rights_restore(const OgRights *saved)
{
	AtEOXact_GUC(false, saved->nest);
	og_trust_lift();
	SetUserIdAndSecContext(saved->user, saved->context);
}

/*
 * og_rights_may_see
 *		May the current role read all that is recorded about a relation?  Not
 *		under row security: see visible.c.  What is about no table, or one
 *		that is gone, has no reader's rights.
 */
bool
og_rights_may_see(Oid relation)
{
	if (!OidIsValid(relation) || !OidIsValid(owner_of(relation)))
		return superuser();
	return pg_class_aclcheck(relation, GetUserId(),
							 ACL_SELECT) == ACLCHECK_OK &&
		check_enable_rls(relation, InvalidOid, true) != RLS_ENABLED;
}

/*
 * og_rights_owns
 *		Is the current role the owner of a relation, or as good as he?
 */
bool
og_rights_owns(Oid relation)
{
	Oid			owner = OidIsValid(relation) ? owner_of(relation) : InvalidOid;

	if (!OidIsValid(owner))
		return superuser();
	return has_privs_of_role(GetUserId(), owner);
}

/*
 * og_rights_may_update
 *		May the current role change the status of the orders of a relation:
 *		by a right to UPDATE the table, or all columns that make the status?
 */
bool
og_rights_may_update(Oid relation, List *status_columns)
{
	ListCell   *cell;

	if (!OidIsValid(relation) || !OidIsValid(owner_of(relation)))
		return superuser();
	if (pg_class_aclcheck(relation, GetUserId(), ACL_UPDATE) == ACLCHECK_OK)
		return true;
	foreach(cell, status_columns)
	{
		AttrNumber	column = get_attnum(relation, lfirst(cell));

		if (column == InvalidAttrNumber ||
			pg_attribute_aclcheck(relation, column, GetUserId(),
								  ACL_UPDATE) != ACLCHECK_OK)
			return false;
	}
	return status_columns != NIL;
}

/*
 * og_rights_signal
 *		What a role lacks to end a session of another one.
 */
const char *
og_rights_signal(Oid role, Oid session_role)
{
	if (superuser_arg(role))
		return NULL;
	if (!OidIsValid(session_role) || superuser_arg(session_role))
		return "the session belongs to a superuser";
	if (has_privs_of_role(role, session_role) ||
		has_privs_of_role(role, ROLE_PG_SIGNAL_BACKEND))
		return NULL;
	return "that takes membership in the role of the session or in "
		"pg_signal_backend";
}

/*
 * og_rights_who
 *		Whom the audit names.
 */
char *
og_rights_who(void)
{
	char	   *session = GetUserNameFromId(GetSessionUserId(), false);

	if (GetSessionUserId() == GetUserId())
		return session;
	return psprintf("%s as %s", session,
					GetUserNameFromId(GetUserId(), false));
}
