/*
 * action_request.c
 *		Checks the name of an action and its arguments.
 *
 * Runs in backends.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "action_private.h"

static const char *const actions[] = {
	"close", "move", "cancel_query", "doom", "terminate",
	"commit_prepared", "rollback_prepared", "ask_again",
	"handler"
};

/* See action_private.h. */
bool
og_action_is_signal(const char *action)
{
	return strcmp(action, "cancel_query") == 0 ||
		strcmp(action, "terminate") == 0 || strcmp(action, "doom") == 0;
}

bool
og_action_is_prepared(const char *action)
{
	return strcmp(action, "commit_prepared") == 0 ||
		strcmp(action, "rollback_prepared") == 0;
}

static void
check_name(const char *action)
{
	StringInfoData known;

	initStringInfo(&known);
	for (int i = 0; i < lengthof(actions); i++)
	{
		if (strcmp(action, actions[i]) == 0)
			return;
		appendStringInfo(&known, "%s%s", i == 0 ? "" :
						 i == lengthof(actions) - 1 ? " and " : ", ",
						 actions[i]);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown action \"%s\"", action),
			 errhint("Actions are %s.", known.data)));
}

static void
refuse_type(const char *name, const char *type)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("argument \"%s\" must be a %s", name, type)));
}

/*
 * Takes one member of args.
 */
static void
take_argument(OgRequest *request, const char *name, const JsonbValue *value)
{
	if (strcmp(name, "dry_run") == 0)
	{
		if (value->type != jbvBool)
			refuse_type(name, "boolean");
		request->dry_run |= value->val.boolean;
	}
	else if (strcmp(name, "to") == 0 && strcmp(request->action, "move") == 0)
	{
		if (value->type != jbvString)
			refuse_type(name, "string");
		request->to = pnstrdup(value->val.string.val, value->val.string.len);
	}
	else if (strcmp(name, "gid") == 0 &&
			 og_action_is_prepared(request->action))
	{
		if (value->type != jbvString)
			refuse_type(name, "string");
		request->gid = pnstrdup(value->val.string.val, value->val.string.len);
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown argument \"%s\" of action \"%s\"", name,
						request->action),
				 errhint("Arguments are \"dry_run\", of move also \"to\", of "
						 "commit_prepared and rollback_prepared \"gid\".")));
}

/*
 * og_request_refuse_null
 *		Raises an error if an argument of an SQL function is null.
 */
void
og_request_refuse_null(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

/*
 * og_request_check
 *		Reads the arguments of a request; raises an error for what it does
 *		not know.
 */
void
og_request_check(OgRequest *request)
{
	JsonbIterator *it;
	JsonbValue	value;
	JsonbIteratorToken token;
	char	   *name = NULL;

	check_name(request->action);
	if (!JB_ROOT_IS_OBJECT(request->args))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("args must be a JSON object")));
	it = JsonbIteratorInit(&request->args->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
			take_argument(request, name, &value);
	}
	if (strcmp(request->action, "move") == 0 && request->to == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("action \"move\" needs the argument \"to\""),
				 errhint("For example: args => '{\"to\": \"CANCELLED\"}'.")));
}
