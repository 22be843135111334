/*
 * handler_private.h
 *		What handler.c and handler_invoke.c share.
 */
#ifndef OG_HANDLER_PRIVATE_H
#define OG_HANDLER_PRIVATE_H

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
