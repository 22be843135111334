/*
 * announce.c
 *		Tells about incidents: a line in the server's log, and NOTIFY.
 *
 * Runs in the worker, but for og_incident_notify(), which any backend may
 * call.  What happens to incidents in a transaction is kept as events; those
 * of a transaction that committed are announced, those rolled back are not.
 * An announcement that was not made is lost with the process: NOTIFY only
 * pokes, the truth is in order_guard.incident.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "incident_private.h"
#include "settings.h"

#define OG_CHANNEL "order_guard"
/* A NOTIFY must stay below 8000 bytes; a byte of JSON may take six. */
#define OG_MAX_KEY 960
#define OG_MAX_NAME 260
#define OG_MAX_KIND 64

typedef struct OgEvent
{
	const char *event;			/* opened, cleared, resolved; of policies
								 * notified, escalated */
	int64		incident;
	char	   *kind;
	char	   *severity;
	char	   *relation;
	char	   *key;			/* or NULL */
	char	   *summary;
	SubTransactionId subxact;	/* in this transaction; 0: committed */
} OgEvent;

static MemoryContext event_context = NULL;
static OgEvent *events = NULL;
static int	nevents = 0;
static int	max_events = 0;
static int	ncommitted = 0;		/* these come first */
static int	ncounted = 0;		/* in og_event_count() */

static OgEvent *
next_event(void)
{
	if (nevents == max_events)
	{
		max_events = Max(64, max_events * 2);
		if (events == NULL)
			events = MemoryContextAlloc(event_context,
										max_events * sizeof(OgEvent));
		else
			events = repalloc_huge(events,
								   (Size) max_events * sizeof(OgEvent));
	}
	return &events[nevents++];
}

/*
 * og_event_add
 *		Notes what happened to the incident in a row of SPI's result, which
 *		begins with OG_EVENT_COLUMNS.
 */
void
og_event_add(const char *event, int row)
{
	OgEvent		new = {0};
	MemoryContext old;
	char	   *key = og_incident_column(row, 5);

	if (event_context == NULL)
		event_context = AllocSetContextCreate(TopMemoryContext,
											  "order_guard events",
											  ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(event_context);
	new.event = event;
	new.incident = strtoll(og_incident_column(row, 1), NULL, 10);
	new.kind = pstrdup(og_incident_column(row, 2));
	new.severity = pstrdup(og_incident_column(row, 3));
	new.relation = pstrdup(og_incident_column(row, 4));
	new.key = key ? pnstrdup(key, pg_mbcliplen(key, strlen(key),
											   OG_MAX_KEY)) : NULL;
	new.summary = pstrdup(og_incident_column(row, 6));
	og_incident_sanitise(new.summary);
	og_incident_sanitise(new.kind);
	new.subxact = GetCurrentSubTransactionId();
	*next_event() = new;
	MemoryContextSwitchTo(old);
}

/*
 * og_event_count
 *		How many incidents were opened and cleared since the last call.
 */
void
og_event_count(int *opened, int *cleared)
{
	*opened = *cleared = 0;
	for (int i = ncounted; i < nevents; i++)
	{
		if (strcmp(events[i].event, "opened") == 0)
			(*opened)++;
		else if (strcmp(events[i].event, "cleared") == 0)
			(*cleared)++;
	}
	ncounted = nevents;
}

/*
 * og_event_end
 *		The transaction ends.  Allocates nothing and cannot fail.
 */
void
og_event_end(bool commit)
{
	if (!commit)
		nevents = ncommitted;
	for (int i = ncommitted; i < nevents; i++)
		events[i].subxact = InvalidSubTransactionId;
	ncommitted = ncounted = nevents;
}

/*
 * og_event_subabort
 *		A sub-transaction was rolled back.  Cannot fail.
 */
void
og_event_subabort(SubTransactionId subxact)
{
	while (nevents > ncommitted && events[nevents - 1].subxact >= subxact)
		nevents--;
	ncounted = Min(ncounted, nevents);
}

static void
append_member(StringInfo buf, const char *name, const char *value, int limit)
{
	appendStringInfo(buf, ",\"%s\":", name);
	if (value == NULL)
		appendStringInfoString(buf, "null");
	else
		escape_json(buf, pnstrdup(value, pg_mbcliplen(value, strlen(value),
													  limit)));
}

/* severity may be NULL: that is not known here. */
static void
notify(const char *event, int64 incident, const char *kind,
	   const char *relation, const char *key, const char *severity)
{
	StringInfoData buf;

	if (!og_notify)
		return;
	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"event\":\"%s\",\"incident\":" INT64_FORMAT,
					 event, incident);
	append_member(&buf, "kind", kind, OG_MAX_KIND);
	append_member(&buf, "relation", relation, OG_MAX_NAME);
	append_member(&buf, "key", key, OG_MAX_KEY);
	if (severity)
		append_member(&buf, "severity", severity, OG_MAX_KIND);
	appendStringInfoChar(&buf, '}');
	Async_Notify(OG_CHANNEL, buf.data);
	pfree(buf.data);
}

/*
 * og_incident_notify
 *		Tells listeners when the current transaction commits.
 */
void
og_incident_notify(const char *event, int64 incident, const char *kind,
				   const char *relation, const char *key)
{
	notify(event, incident, kind, relation, key, NULL);
}

static void
log_event(const OgEvent *event)
{
	ereport(LOG,
			(errmsg_internal("order_guard: incident %lld %s (%s, %s): %s",
							 (long long) event->incident, event->event,
							 event->kind, event->severity, event->summary),
			 errhidestmt(true), errhidecontext(true)));
}

static void
send_events(void)
{
	StartTransactionCommand();
	for (int i = 0; i < ncommitted; i++)
		notify(events[i].event, events[i].incident, events[i].kind,
			   events[i].relation, events[i].key, events[i].severity);
	CommitTransactionCommand();
}

/*
 * Sends what is to be sent, all or nothing.  Failing (the queue may be full)
 * is worth one warning, until it works again.
 */
static void
try_to_send(void)
{
	static bool failing = false;
	MemoryContext caller = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		send_events();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	if (error && !failing)
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("order_guard could not send notifications: %s",
						error->message),
				 errdetail("Incidents are recorded all the same.")));
	failing = error != NULL;
	if (error)
		FreeErrorData(error);
}

/*
 * og_incident_announce
 *		Announces what transactions that committed did.  To be called
 *		outside a transaction.
 */
void
og_incident_announce(void)
{
	if (ncommitted == 0)
		return;
	Assert(!IsTransactionState());
	if (og_log_incidents)
	{
		for (int i = 0; i < ncommitted; i++)
			log_event(&events[i]);
	}
	if (og_notify)
		try_to_send();
	events = NULL;
	nevents = ncommitted = ncounted = max_events = 0;
	MemoryContextReset(event_context);
}
