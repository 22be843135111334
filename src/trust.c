/*
 * trust.c
 *		Whose functions may run while order_guard works for somebody.
 *
 * Runs in every process.  Owners of guarded tables are ordinary users, and
 * can have functions of theirs called where one does not see it: by a policy,
 * a cast, a domain in a composite key, the expression of an index.  Wherever
 * our own work might meet one, PostgreSQL's hook for the execution of
 * functions refuses it: what the worker does as a superuser, what a backend
 * does with the rights of the extension's owner, and what is looked up in
 * tables that the caller did not name.  Code of a table's owner that is to
 * run, runs as that owner in a restricted operation; that is left alone.
 *
 * The planner, to estimate how many rows an operator selects, calls its
 * function without the hook.  So og_trust_plan() looks at all functions of
 * a query beforehand, too.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/acl.h"
#include "utils/plancache.h"
#include "utils/regproc.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "trust.h"

static object_access_hook_type previous_access = NULL;
static bool is_worker = false;

#define MAX_DEPTH	64

/*
 * What was asked for and not given up yet, each with the level of
 * sub-transactions in which it was; the last one holds.  One lies in another
 * when code of a superuser that our own work runs (a trigger on our tables, a
 * policy) calls order_guard, and perhaps catches its error.
 */
static struct
{
	OgTrust		trust;
	int			nest;
}			asked[MAX_DEPTH];
static int	depth = 0;

/*
 * A function of a superuser is trusted; of others only the caller's own, by
 * himself.  A superuser has the rights of all roles, but trusts none.
 */
static bool
is_trusted(Oid function, OgTrust trust)
{
	HeapTuple	tuple;
	Form_pg_proc form;
	bool		result;

	if (trust == OG_TRUST_OWN && function < FirstNormalObjectId)
		return true;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	result = superuser_arg(form->proowner);
	if (trust == OG_TRUST_READ)
	{
		if (!result && !superuser())
			result = has_privs_of_role(GetUserId(), form->proowner);
		if (form->provolatile == PROVOLATILE_VOLATILE)
			result = false;
	}
	ReleaseSysCache(tuple);
	return result;
}

static OgTrust
current_trust(void)
{
	return depth > 0 ? asked[depth - 1].trust : OG_TRUST_ALL;
}

static void
check_function(Oid function)
{
	OgTrust		trust = current_trust();

	if (trust == OG_TRUST_ALL && is_worker && superuser() &&
		!InSecurityRestrictedOperation())
		trust = OG_TRUST_OWN;
	if (trust == OG_TRUST_ALL || is_trusted(function, trust))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("order_guard does not run function %s here",
					format_procedure_qualified(function)),
			 errdetail("It would run with the rights of another role than "
					   "its owner's.")));
}

static void
on_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (previous_access)
		previous_access(access, class, object, sub, arg);
	if (access == OAT_FUNCTION_EXECUTE && (depth > 0 || is_worker))
		check_function(object);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	depth = 0;
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId id,
					  SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (depth > 0 &&
		   asked[depth - 1].nest >= GetCurrentTransactionNestLevel())
		depth--;
}

void
og_trust_init(void)
{
	previous_access = object_access_hook;
	object_access_hook = on_access;
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

void
og_trust_worker(void)
{
	is_worker = true;
}

/*
 * og_trust_limit
 *		From here on these functions only, until og_trust_lift().
 */
void
og_trust_limit(OgTrust trust)
{
	if (depth == MAX_DEPTH)
		ereport(ERROR,
				(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
				 errmsg("calls of order_guard are nested too deeply")));
	asked[depth].trust = trust;
	asked[depth].nest = GetCurrentTransactionNestLevel();
	depth++;
}

/*
 * og_trust_lift
 *		What held before og_trust_limit() holds again.
 */
void
og_trust_lift(void)
{
	Assert(depth > 0);
	depth--;
}

static bool
is_foreign(Oid function, void *context)
{
	return !is_trusted(function, OG_TRUST_READ);
}

/* Is there a function in the tree that may not run? */
static bool
find_foreign(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_foreign, context, 0);
	if (check_functions_in_node(node, is_foreign, context))
		return true;
	return expression_tree_walker(node, find_foreign, context);
}

/* Reading other tables, a policy could tell its owner what is in them. */
static bool
owner_may_read(Oid table, Oid relation)
{
	HeapTuple	tuple;
	Oid			owner;

	if (table == relation)
		return true;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	if (!HeapTupleIsValid(tuple))
		return false;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return pg_class_aclcheck(table, owner, ACL_SELECT) == ACLCHECK_OK;
}

bool
og_trust_plan(SPIPlanPtr plan, Oid relation)
{
	ListCell   *cell;

	foreach(cell, SPI_plan_get_plan_sources(plan))
	{
		CachedPlanSource *source = lfirst(cell);
		ListCell   *item;

		foreach(item, source->query_list)
		{
			if (find_foreign(lfirst(item), NULL))
				return false;
		}
		foreach(item, source->relationOids)
		{
			if (!owner_may_read(lfirst_oid(item), relation))
				return false;
		}
	}
	return true;
}

bool
og_trust_plan_is_fresh(SPIPlanPtr plan)
{
	ListCell   *cell;

	foreach(cell, SPI_plan_get_plan_sources(plan))
	{
		CachedPlanSource *source = lfirst(cell);

		if (!source->is_valid ||
			(source->dependsOnRLS &&
			 (source->rewriteRoleId != GetUserId() ||
			  source->rewriteRowSecurity != row_security)))
			return false;
	}
	return true;
}
