/*
 * reason.c
 *		Why something was rolled back, in words.  Runs in any process.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "reason.h"

/* A cause in a word or two, as attempts show it; NULL: none. */
const char *
og_reason_cause(uint8 cause)
{
	switch (cause)
	{
		case OG_CAUSE_ERROR:
			return "error";
		case OG_CAUSE_CLIENT:
			return "rollback";
		case OG_CAUSE_DISCONNECT:
			return "disconnect";
		case OG_CAUSE_CONNECTION_LOST:
			return "connection lost";
		case OG_CAUSE_TERMINATED:
			return "terminated";
		case OG_CAUSE_CRASH:
			return "crash";
		case OG_CAUSE_SILENT:
		case OG_CAUSE_SILENT_PREPARE:
			return "silent rollback";
		default:
			return NULL;
	}
}

/* Does a text end with another? */
static bool
ends_with(const StringInfoData *text, const char *end)
{
	int			length = strlen(end);

	return text->len >= length &&
		strcmp(text->data + text->len - length, end) == 0;
}

/* The error's message, with the constraint and without all other values. */
static char *
fill_message(const OgError *error)
{
	StringInfoData text;

	initStringInfo(&text);
	for (const char *p = error->message; *p; p++)
	{
		if (*p != '%' || p[1] == '\0')
		{
			appendStringInfoChar(&text, *p);
			continue;
		}
		p += strspn(p + 1, "-+ #0123456789.lz") + 1;
		if (*p == '%')
			appendStringInfoChar(&text, '%');
		else if (error->constraint[0] && ends_with(&text, "constraint \""))
			appendStringInfoString(&text, error->constraint);
		else
			appendStringInfoString(&text, "...");
		if (*p == '\0')
			break;
	}
	return text.data;
}

/* An error in words; "other": what it is called that has none. */
static char *
error_text(const OgError *error, const char *other)
{
	if (error->message[0] == '\0')
		return pstrdup(other);
	if (strcmp(error->message, "%s") != 0)
		return fill_message(error);
	/* RAISE, in a function or a trigger */
	return pstrdup("the application raised an error");
}

/*
 * og_reason_silent
 *		How the reason of a silent rollback begins; the error follows.
 */
char *
og_reason_silent(uint8 cause)
{
	return psprintf("%s was answered with ROLLBACK because an earlier "
					"statement had failed: ", cause == OG_CAUSE_SILENT ?
					"COMMIT" : "PREPARE TRANSACTION");
}

/*
 * og_reason_unheard
 *		Why the client of a transaction that committed may not know of it.
 */
const char *
og_reason_unheard(uint8 cause)
{
	switch (cause)
	{
		case OG_CAUSE_CONNECTION_LOST:
			return "it was committed, but its client may not have heard: "
				"the connection broke before the answer was through";
		case OG_CAUSE_TERMINATED:
			return "it was committed, but its client may not have heard: "
				"the backend was ended before it had answered";
		default:
			return "it was committed, but its client may not have heard: "
				"the server crashed before it had answered";
	}
}

/*
 * og_reason_text
 *		Why something was rolled back, without values; NULL if there is no cause.
 */
char *
og_reason_text(const OgError *error)
{
	switch (error->cause)
	{
		case OG_CAUSE_ERROR:
			/* A parallel worker's error comes without its message's id. */
			return error_text(error, error->sqlstate ?
							  "the statement failed" :
							  "the statement or its COMMIT failed");
		case OG_CAUSE_TERMINATED:
			if (error->message[0] && strcmp(error->message, "%s") != 0)
				return fill_message(error);
			return pstrdup("the backend was told to end");
		case OG_CAUSE_SILENT:
		case OG_CAUSE_SILENT_PREPARE:
			return psprintf("%s%s", og_reason_silent(error->cause),
							error_text(error, error->sqlstate ?
									   "see its SQLSTATE" :
									   "its error was not seen"));
		case OG_CAUSE_CLIENT:
			return pstrdup("the client rolled back");
		case OG_CAUSE_DISCONNECT:
			return pstrdup("the client closed the connection before COMMIT");
		case OG_CAUSE_CONNECTION_LOST:
			return pstrdup("the connection broke before COMMIT");
		case OG_CAUSE_CRASH:
			return pstrdup("the server crashed before COMMIT");
		default:
			return NULL;
	}
}

/*
 * og_reason_error
 *		An error that was caught, in words, without values: others than who met
 *		it will read this.
 */
char *
og_reason_error(const ErrorData *error)
{
	OgError		e = {.cause = OG_CAUSE_ERROR};

	e.sqlstate = error->sqlerrcode;
	if (error->message_id)
		strlcpy(e.message, error->message_id, sizeof(e.message));
	if (error->constraint_name)
		strlcpy(e.constraint, error->constraint_name, sizeof(e.constraint));
	return og_reason_text(&e);
}
