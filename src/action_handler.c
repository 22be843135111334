/*
 * action_handler.c
 *		Asks for the handler of an incident.
 *
 * Runs in the backend of whoever asks, or for a policy in the worker.  The
 * handler is a function of the table's owner and runs as him, so he alone
 * may ask for it.  It is queued; the worker runs it (handler.c).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "action_private.h"
#include "compat.h"
#include "incident_private.h"
#include "rights.h"

/* A handler, and who asked for it already. */
typedef struct Handler
{
	char	   *name;			/* or NULL, as all */
	char	   *problem;
	char	   *queued;			/* id of an action */
} Handler;

static Handler
find_handler(const OgCase *c)
{
	static const Oid types[] = {INT4OID, TEXTOID, INT8OID};
	Datum		args[] = {Int32GetDatum(c->watch),
	CStringGetTextDatum(c->kind), Int64GetDatum(c->id)};
	Handler		handler = {0};

	og_action_sql("SELECT h.name, f.problem, (SELECT min(a.id) "
				  "FROM order_guard.action a WHERE a.incident = $3 "
				  "AND a.action = 'handler' AND a.result = 'queued') "
				  "FROM order_guard.watch w, LATERAL (SELECT "
				  "w.options -> 'handlers' ->> $2) h (name), "
				  "order_guard._find_handler(w.relation, h.name) f "
				  "WHERE w.id = $1", 3, types, args, NULL);
	if (SPI_processed > 0)
	{
		handler.name = og_incident_column(0, 1);
		handler.problem = og_incident_column(0, 2);
		handler.queued = og_incident_column(0, 3);
	}
	SPI_freetuptable(SPI_tuptable);
	return handler;
}

/*
 * og_action_handler
 *		Decides whether the handler may be queued.
 */
void
og_action_handler(const OgCase *c, const OgRequest *request,
				  OgAnswer *answer)
{
	Handler		handler = find_handler(c);

	answer->result = "refused";
	if (!OidIsValid(c->relation) ||
		!(request->unattended ||
		  og_owns_relation(c->relation, GetUserId())))
		answer->detail = pstrdup("the handler is for the owner of the table "
								 "to ask for");
	else if (handler.name == NULL)
		answer->detail = psprintf("the watch has no handler of %s: see "
								  "its option handlers", c->kind);
	else if (handler.problem)
		answer->detail = handler.problem;
	else if (handler.queued)
		answer->detail = psprintf("it is queued already, as action %s",
								  handler.queued);
	else
	{
		answer->result = request->dry_run ? "would_do" : "queued";
		answer->detail = psprintf("%s call %s(%lld)", request->dry_run ?
								  "would" : "the worker will", handler.name,
								  (long long) c->id);
	}
}
