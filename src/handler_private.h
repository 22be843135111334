/*
 * handler_private.h
 *		What the files about handlers share.
 */
#ifndef OG_HANDLER_PRIVATE_H
#define OG_HANDLER_PRIVATE_H

#include "lib/stringinfo.h"

/* An action that was taken. */
typedef struct OgHandlerJob
{
	int64		action;
	int64		incident;
	int			watch;
	char		kind[NAMEDATALEN];
	bool		late;			/* it has waited long enough for locks */
} OgHandlerJob;

/* What comes of it. */
typedef struct OgHandlerOutcome
{
	const char *result;			/* NULL: to be tried again */
	char	   *detail;
	char	   *resolution;		/* not NULL: the incident ends */
	StringInfoData proof;		/* members of a JSON object */
} OgHandlerOutcome;

/* handler.c */
extern void og_handler_took_too_long(const OgHandlerJob *who);
extern void og_handler_ended(const OgHandlerJob *who);

/*
 * handler_case.c: does it; an error in words; another member of the proof, NULL
 * is null
 */
extern void og_handler_try(const OgHandlerJob *job, OgHandlerOutcome *outcome);
extern char *og_handler_error(const ErrorData *error);
extern void og_handler_prove(OgHandlerOutcome *outcome, const char *name,
							 const char *text);

/* handler_invoke.c */

/* A call of a handler's function. */
typedef struct OgHandlerCall
{
	Oid			function;
	int64		incident;
	MemoryContext context;		/* for the result */

	/* The result. */
	char	   *returned;		/* text of a JSON object, or NULL */
	bool		resolved;
	char	   *note;			/* or NULL */
} OgHandlerCall;

/* Within og_owner_call(); arg is an OgHandlerCall. */
extern void og_handler_invoke(void *arg);

#endif							/* OG_HANDLER_PRIVATE_H */
