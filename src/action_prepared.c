/*
 * action_prepared.c
 *		Finishes the prepared transaction behind an incident.
 *
 * COMMIT PREPARED cannot be undone.  The backend of whoever asks checks that
 * he may; the worker checks again, and does it.  Which one is meant is told
 * by name, transaction id, owner and database of the evidence, both times: a
 * name that was used again is left alone.
 *
 * PostgreSQL has no lock on the name of a prepared transaction: somebody who
 * finishes it and prepares another one under its name between the worker's
 * look and its deed (microseconds, but no less) would have that finished.
 * Afterwards the transaction log is asked about the id that was meant, so the
 * record says what was done in this case, too.
 *
 * It is finished before its record is committed.  If the worker dies in
 * between, the next one finds the name gone and records what the transaction
 * log says; an id is never used again once it was prepared, not even after a
 * crash.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/transam.h"
#include "access/twophase.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "action_private.h"
#include "incident_private.h"

static bool
is_base64(const char *text, int length)
{
	const char *end = text + length;

	if (length % 4 != 0)
		return false;
	while (text < end && (isalnum((unsigned char) *text) ||
						  *text == '+' || *text == '/'))
		text++;
	while (text < end && *text == '=')
		text++;
	return text == end;
}

static bool
is_hex(const char *text, int length)
{
	return length > 0 && length % 2 == 0 &&
		(int) strspn(text, "0123456789abcdefABCDEF") >= length;
}

/*
 * format, global id, branch: 131077_AAECAw==_BAUG, as pgjdbc (and so
 * Narayana, Atomikos and the like) and psycopg write it; 1-00ff-00fe, as
 * psqlODBC does.
 */
static bool
is_xa(const char *gid)
{
	const char *first = gid + (gid[0] == '-');
	const char *last;
	char		separator;

	first += strspn(first, "0123456789");
	separator = *first;
	if (first == gid + (gid[0] == '-') ||
		(separator != '_' && separator != '-'))
		return false;
	last = strrchr(first, separator);
	if (last <= first + 1)
		return false;
	first++;
	if (separator == '_')
		return is_base64(first, last - first) &&
			is_base64(last + 1, strlen(last + 1));
	return is_hex(first, last - first) && is_hex(last + 1, strlen(last + 1));
}

/* A UUID, alone or before a slash: Npgsql's, for distributed transactions. */
static bool
is_uuid(const char *gid)
{
	for (int i = 0; i < 36; i++)
	{
		bool		dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? gid[i] != '-' : !isxdigit((unsigned char) gid[i]))
			return false;
	}
	return gid[36] == '\0' || gid[36] == '/';
}

/* See action.h. */
bool
og_gid_is_foreign(const char *gid)
{
	return strncmp(gid, "citus_", 6) == 0 ||
		strncmp(gid, "pg_gid_", 7) == 0 || is_xa(gid) || is_uuid(gid);
}

/* What the transaction log says: committed, rolled back, or nothing. */
static char *
find_fate(const OgCase *c)
{
	static const Oid types[] = {TEXTOID};
	Datum		args[] = {CStringGetTextDatum(c->xid)};
	char	   *fate = NULL;

	/* one from a copy of this database may be ahead of this server */
	og_action_sql("SELECT CASE CASE WHEN x.xid < "
				  "pg_snapshot_xmax(pg_current_snapshot()) "
				  "THEN pg_xact_status(x.xid) END "
				  "WHEN 'committed' THEN 'committed' "
				  "WHEN 'aborted' THEN 'rolled back' END "
				  "FROM (SELECT $1::xid8) x (xid)",
				  1, types, args, NULL);
	if (SPI_processed > 0)
		fate = og_incident_column(0, 1);
	SPI_freetuptable(SPI_tuptable);
	return fate;
}

static void
expect(const OgCase *c, OgAnswer *answer)
{
	og_proof_expect(answer, "gid", c->gid);
	og_proof_expect(answer, "xid", c->xid);
	og_proof_expect(answer, "owner", c->owner);
	og_proof_expect(answer, "database", c->database);
	answer->lock = "none: PostgreSQL has none on a prepared transaction";
}

static char *
printable(const char *gid)
{
	char	   *copy = pstrdup(gid);

	og_incident_sanitise(copy);
	return copy;
}

static void
moved_on(const OgCase *c, OgAnswer *answer, bool reused)
{
	const char *fate = find_fate(c);

	answer->result = "moved_on";
	og_proof_find(answer, "outcome", fate);
	answer->detail = psprintf("the prepared transaction has been %s already%s",
							  fate ? fate : "finished",
							  reused ? "; its name is used by another one" :
							  "");
}

/*
 * og_action_verify
 *		Is the prepared transaction there, and the one that is meant?
 */
bool
og_action_verify(const OgCase *c, OgAnswer *answer)
{
	static const Oid types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum		args[] = {CStringGetTextDatum(c->gid),
		CStringGetTextDatum(c->xid), CStringGetTextDatum(c->owner),
	CStringGetTextDatum(c->database)};
	bool		there;
	bool		same = false;

	expect(c, answer);
	og_action_sql("SELECT p.transaction = ($2::xid8)::xid "
				  "AND p.owner = $3 AND p.database = $4 "
				  "AND p.database = current_database(), "
				  "p.transaction, p.owner, p.database "
				  "FROM pg_prepared_xacts p WHERE p.gid = $1",
				  4, types, args, NULL);
	there = SPI_processed > 0;
	if (there)
	{
		same = og_incident_column(0, 1)[0] == 't';
		og_proof_find(answer, "xid", og_incident_column(0, 2));
		og_proof_find(answer, "owner", og_incident_column(0, 3));
		og_proof_find(answer, "database", og_incident_column(0, 4));
	}
	og_proof_find(answer, "gid", there ? c->gid : NULL);
	SPI_freetuptable(SPI_tuptable);
	if (!same)
		moved_on(c, answer, there);
	return same;
}

/* One of a transaction manager is finished only by whoever names it. */
static const char *
object_to_name(const OgCase *c, const OgRequest *request, bool superuser)
{
	bool		foreign = og_gid_is_foreign(c->gid);

	if (request->gid && strcmp(request->gid, c->gid) != 0)
		return "the prepared transaction has another name";
	if (!foreign)
		return NULL;
	if (request->unattended)
		return "it belongs to a transaction manager: a person has to decide";
	if (!superuser)
		return "it belongs to a transaction manager: a superuser has to "
			"decide";
	if (request->gid == NULL)
		return "it belongs to a transaction manager: name it by the argument "
			"gid if that has lost it";
	return NULL;
}

/*
 * og_action_prepared
 *		Decides whether commit_prepared or rollback_prepared may be queued: for
 *		the owner of the prepared transaction, or a superuser.
 */
void
og_action_prepared(const OgCase *c, const OgRequest *request,
				   OgAnswer *answer)
{
	Oid			by = OidIsValid(request->role) ? request->role : GetUserId();
	bool		superuser = superuser_arg(by);
	const char *objection = NULL;

	answer->result = "refused";
	if (strcmp(c->kind, "prepared") != 0 || c->gid == NULL ||
		c->xid == NULL || c->owner == NULL || c->database == NULL)
		objection = "the incident is not about a prepared transaction";
	else if (!superuser && by != get_role_oid(c->owner, true))
		objection = "the prepared transaction belongs to somebody else";
	else
		objection = object_to_name(c, request, superuser);
	if (objection)
	{
		answer->detail = pstrdup(objection);
		return;
	}
	if (!og_action_verify(c, answer))
		return;
	answer->result = request->dry_run ? "would_do" : "queued";
	answer->detail = psprintf("%s %s prepared transaction \"%s\"",
							  request->dry_run ? "would" : "the worker will",
							  request->action[0] == 'c' ? "commit" :
							  "roll back", printable(c->gid));
}

/*
 * og_action_finish
 *		COMMIT PREPARED or ROLLBACK PREPARED, in the worker.
 */
void
og_action_finish(const OgCase *c, bool commit, OgAnswer *answer)
{
	TransactionId xid = (TransactionId) strtoull(c->xid, NULL, 10);
	bool		right;

	FinishPreparedTransaction(c->gid, commit);
	right = commit ? TransactionIdDidCommit(xid) : TransactionIdDidAbort(xid);
	answer->result = right ? "done" : "moved_on";
	answer->detail = psprintf("%s \"%s\" %s",
							  right ? "prepared transaction" :
							  "another transaction that was prepared at this "
							  "moment under the name",
							  printable(c->gid), commit ? "was committed" :
							  "was rolled back");
}
