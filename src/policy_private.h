/*
 * policy_private.h
 *		What policy.c and policy_collect.c share.
 */
#ifndef OG_POLICY_PRIVATE_H
#define OG_POLICY_PRIVATE_H

#include "action_private.h"
#include "policy.h"

/* A policy and the incident that it acts on. */
typedef struct OgPolicy
{
	const char *name;
	char	   *action;
	Jsonb	   *args;
	bool		dry_run;
	Oid			role;			/* its owner */
	Oid			relation;		/* or InvalidOid */
	char	   *to;				/* of args, or NULL */
	char	   *severity;
	int64		incident;
	int			watch;
	char	   *is_severity;	/* the incident's */
	char	   *objection;		/* why it must not be done, or NULL */
	OgRequest	request;
	OgAnswer	answer;
} OgPolicy;

/*
 * policy.c, all in a transaction of the worker with SPI connected: how the
 * policy shows in the audit; an answer, with its record; counting it.
 */
extern void og_policy_introduce(OgPolicy *p);
extern void og_policy_answer(OgPolicy *p, const char *result, char *detail);
extern void og_policy_note(const OgPolicy *p, bool fresh);

/* The incident becomes more severe; log and NOTIFY tell of it at commit. */
extern void og_policy_raise_severity(int64 incident, const char *severity);
extern void og_policy_tell(int64 incident, const char *event);

/* policy_collect.c: stops a policy that has more to do than it may */
extern void og_policy_suspend(const OgPolicy *p);

#endif							/* OG_POLICY_PRIVATE_H */
