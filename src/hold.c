/*
 * hold.c
 *		Statements about databases and extensions, as ProcessUtility sees
 *		them.
 *
 * Runs in the backend that executes the statement.  Statements that want a
 * database to themselves (DROP, RENAME, TEMPLATE, SET TABLESPACE) get its
 * worker out of the way first, and keep it away until their transaction is
 * over, however it ends: a hold is given back by a transaction callback, which
 * also runs when the backend is told to end, and the shared memory that counts
 * holds does not outlive a crash.
 *
 * CREATE, ALTER and DROP EXTENSION ask for a look when they commit.  Both are
 * hints that cost nothing if the statement fails.
 *
 * The callback takes no lock, allocates nothing and cannot fail: it changes
 * atomic counters and sets latches.
 */
#include "postgres.h"

#include <signal.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "utils/acl.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "launcher.h"
#include "slot.h"

#define MAX_HELD		16		/* databases in one transaction */
#define STOP_MS			10000

/* This transaction's holds, and its wish for a look at its database. */
static OgSlot *held[MAX_HELD];
static int	nheld = 0;
static OgSlot *pinned = NULL;

static void
release_holds(void)
{
	for (int i = 0; i < nheld; i++)
		pg_atomic_fetch_sub_u32(&held[i]->holds, 1);
	if (nheld > 0)
		og_slot_wake_launcher();
	nheld = 0;
}

/*
 * A transaction that creates the extension and is prepared keeps its pin: no
 * callback tells when it is finished.  The price is that the journal of this
 * database is not thrown away before the next restart.
 */
static void
release_pin(bool committed, bool prepared)
{
	OgSlot	   *slot = pinned;

	pinned = NULL;
	if (slot == NULL || prepared)
		return;
	if (committed)
		og_slot_request(slot);
	pg_atomic_fetch_sub_u32(&slot->pins, 1);
}

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			release_holds();
			release_pin(event == XACT_EVENT_COMMIT,
						event == XACT_EVENT_PREPARE);
			break;
		default:
			break;
	}
}

static void
register_callback(void)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(end_transaction, NULL);
	registered = true;
}

/* The value of an option in a list of DefElem, or NULL. */
static DefElem *
find_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0)
			return option;
	}
	return NULL;
}

static bool
may_create_databases(void)
{
	HeapTuple	tuple;
	bool		may = superuser();

	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (HeapTupleIsValid(tuple))
	{
		may |= ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
		ReleaseSysCache(tuple);
	}
	return may;
}

static bool
is_template(Oid database)
{
	HeapTuple	tuple;
	bool		answer = false;

	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	if (HeapTupleIsValid(tuple))
	{
		answer = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
		ReleaseSysCache(tuple);
	}
	return answer;
}

/* The template of CREATE DATABASE, if the user may copy it. */
static Oid
find_template(CreatedbStmt *statement)
{
	DefElem    *option = find_option(statement->options, "template");
	const char *name = "template1";
	Oid			database;

	if (option != NULL && option->arg != NULL)
		name = defGetString(option);
	database = get_database_oid(name, true);
	if (OidIsValid(database) && may_create_databases() &&
		(is_template(database) || OG_OWNS_DATABASE(database, GetUserId())))
		return database;
	return InvalidOid;
}

/* A database of the user's own, other than the one he is in. */
static Oid
find_own(const char *name)
{
	Oid			database = get_database_oid(name, true);

	if (OidIsValid(database) && database != MyDatabaseId &&
		OG_OWNS_DATABASE(database, GetUserId()))
		return database;
	return InvalidOid;
}

/*
 * The database that a statement needs to itself, if the user may run it:
 * nobody is to stop a worker by a statement that cannot succeed.
 */
static Oid
find_database(Node *parsetree)
{
	switch (nodeTag(parsetree))
	{
		case T_DropdbStmt:
			return find_own(((DropdbStmt *) parsetree)->dbname);
		case T_CreatedbStmt:
			return find_template((CreatedbStmt *) parsetree);
		case T_RenameStmt:
			if (((RenameStmt *) parsetree)->renameType == OBJECT_DATABASE)
				return find_own(((RenameStmt *) parsetree)->subname);
			return InvalidOid;
		case T_AlterDatabaseStmt:
			if (find_option(((AlterDatabaseStmt *) parsetree)->options,
							"tablespace") != NULL)
				return find_own(((AlterDatabaseStmt *) parsetree)->dbname);
			return InvalidOid;
		default:
			return InvalidOid;
	}
}

/* Notes a hold, once; NULL if there is no slot for it. */
static OgSlot *
hold(Oid database)
{
	OgSlot	   *slot;

	for (int i = 0; i < nheld; i++)
		if (held[i]->database == database)
			return held[i];
	if (nheld == MAX_HELD)
		return NULL;
	register_callback();
	LWLockAcquire(og_slots->lock, LW_EXCLUSIVE);
	slot = og_slot_claim(database);
	if (slot != NULL)
	{
		pg_atomic_fetch_add_u32(&slot->holds, 1);
		held[nheld++] = slot;
	}
	LWLockRelease(og_slots->lock);
	return slot;
}

/*
 * Ends the worker, whatever it is doing, and waits until it has left the
 * database.  One that has not attached yet sees the hold and does not.
 */
static void
stop_worker(OgSlot *slot)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													STOP_MS);

	ConditionVariablePrepareToSleep(&slot->changed);
	for (;;)
	{
		int			pid;

		LWLockAcquire(og_slots->lock, LW_SHARED);
		pid = slot->pid;
		if (pid != 0)
			(void) kill(pid, SIGTERM);
		LWLockRelease(og_slots->lock);
		if (pid == 0 || GetCurrentTimestamp() >= until)
			break;
		(void) ConditionVariableTimedSleep(&slot->changed, 1000,
										   PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* Is this one of the names in DROP EXTENSION? */
static bool
drops_extension(DropStmt *statement)
{
	ListCell   *cell;

	if (statement->removeType != OBJECT_EXTENSION)
		return false;
	foreach(cell, statement->objects)
		if (strcmp(strVal(lfirst(cell)), OG_EXTENSION) == 0)
			return true;
	return false;
}

/*
 * Does the statement create, update or drop the extension?  What drops it by
 * other ways (DROP SCHEMA CASCADE, DROP OWNED) the worker notices by itself.
 */
static bool
is_about_extension(Node *parsetree)
{
	switch (nodeTag(parsetree))
	{
		case T_CreateExtensionStmt:
			return strcmp(((CreateExtensionStmt *) parsetree)->extname,
						  OG_EXTENSION) == 0;
		case T_AlterExtensionStmt:
			return strcmp(((AlterExtensionStmt *) parsetree)->extname,
						  OG_EXTENSION) == 0;
		case T_DropStmt:
			return drops_extension((DropStmt *) parsetree);
		default:
			return false;
	}
}

/*
 * Has this database looked at once the transaction commits.  Done before the
 * statement, so that the journal of a transaction that creates the extension
 * and works on orders right away is not taken for an orphan.
 */
static void
pin(void)
{
	if (pinned != NULL)
		return;
	register_callback();
	LWLockAcquire(og_slots->lock, LW_EXCLUSIVE);
	pinned = og_slot_claim(MyDatabaseId);
	if (pinned != NULL)
		pg_atomic_fetch_add_u32(&pinned->pins, 1);
	LWLockRelease(og_slots->lock);
	if (pinned == NULL)
		og_slot_warn_full();
}

/*
 * og_launcher_before_utility
 *		Gets the worker out of a statement's way, or has a look asked for if
 *		the statement may change whether the extension is there.  Waits at
 *		most ten seconds; if that was too short, the statement itself says who
 *		is still connected.
 */
void
og_launcher_before_utility(Node *parsetree)
{
	Oid			database;
	OgSlot	   *slot;

	if (og_slots == NULL || RecoveryInProgress())
		return;
	if (is_about_extension(parsetree))
		pin();
	database = find_database(parsetree);
	if (!OidIsValid(database))
		return;
	slot = hold(database);
	if (slot != NULL)
		stop_worker(slot);
}
