/*
 * handler_invoke.c
 *		Calls a handler's function and reads what it returns.
 *
 * Runs in the worker, within og_owner_call(): as the table's owner, who must
 * not be believed.  A result that is not understood is an error, which undoes
 * what the function did.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "handler_private.h"

#define MAX_RESULT 65536		/* bytes */

/* As what a function raises: og_handler_error() shows it as it is. */
static void
refuse(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg_internal("%s", psprintf("the handler returned %s",
											what))));
}

/*
 * By its number: what bears its name may be another function by now.
 */
static Jsonb *
call_function(const OgHandlerCall *call)
{
	LOCAL_FCINFO(fcinfo, 1);
	FmgrInfo	function;
	Datum		result;

	fmgr_info(call->function, &function);
	InitFunctionCallInfoData(*fcinfo, &function, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = Int64GetDatum(call->incident);
	fcinfo->args[0].isnull = false;
	result = FunctionCallInvoke(fcinfo);
	if (fcinfo->isnull)
		return NULL;
	if (toast_raw_datum_size(result) > MAX_RESULT)
		refuse(psprintf("%zu bytes, more than %d",
						(Size) toast_raw_datum_size(result), MAX_RESULT));
	return DatumGetJsonbP(result);
}

static JsonbValue *
member(Jsonb *object, const char *name, enum jbvType type, JsonbValue *value)
{
	JsonbValue *found = getKeyJsonValueFromContainer(&object->root, name,
													 strlen(name), value);

	if (found && found->type == jbvNull)
		return NULL;
	if (found && found->type != type)
		refuse(psprintf("a value of \"%s\" that is not a %s", name,
						type == jbvBool ? "boolean" : "string"));
	return found;
}

static void
read_result(OgHandlerCall *call, Jsonb *result)
{
	JsonbValue	value;
	MemoryContext caller;

	if (!JB_ROOT_IS_OBJECT(result))
		refuse("something that is not a JSON object");
	if (member(result, "resolved", jbvBool, &value))
		call->resolved = value.val.boolean;
	caller = MemoryContextSwitchTo(call->context);
	if (member(result, "note", jbvString, &value))
		call->note = pnstrdup(value.val.string.val, value.val.string.len);
	call->returned = JsonbToCString(NULL, &result->root, VARSIZE(result));
	MemoryContextSwitchTo(caller);
}

/*
 * og_handler_invoke
 *		See handler_private.h.
 */
void
og_handler_invoke(void *arg)
{
	OgHandlerCall *call = arg;
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext,
												 "order_guard handler",
												 ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(memory);
	Jsonb	   *result = call_function(call);

	if (result)
		read_result(call, result);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(memory);
}
