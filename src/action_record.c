/*
 * action_record.c
 *		The record of an action: who asked for it, what came of it, and its
 *		proof, which is what was expected, what was found and under which lock.
 *
 * Runs in backends and in the worker.  The table is append-only: a trigger
 * lets nobody change a row, but for the one step of a queued action to its
 * end.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "action_private.h"
#include "incident_private.h"
#include "reason.h"
#include "rights.h"

/*
 * og_action_sql
 *		Runs a statement on order_guard's own tables as their owner.  nulls
 *		may be NULL.
 */
void
og_action_sql(const char *sql, int nargs, const Oid *types,
			  Datum *args, const char *nulls)
{
	OgRights	saved;

	og_rights_raise(&saved);
	if (SPI_execute_with_args(sql, nargs, unconstify(Oid *, types), args,
							  nulls, false, 0) < 0)
		elog(ERROR, "could not run \"%s\"", sql);
	og_rights_restore(&saved);
}

/* ------------------------------------------------------------------------
 * The proof
 * ------------------------------------------------------------------------
 */

static void
add_member(StringInfo *object, const char *name, const char *value)
{
	if (*object == NULL)
		*object = makeStringInfo();
	else
		appendStringInfoString(*object, ", ");
	escape_json(*object, name);
	appendStringInfoString(*object, ": ");
	if (value)
		escape_json(*object, value);
	else
		appendStringInfoString(*object, "null");
}

void
og_proof_expect(OgAnswer *answer, const char *name, const char *value)
{
	add_member(&answer->expected, name, value);
}

void
og_proof_find(OgAnswer *answer, const char *name, const char *value)
{
	add_member(&answer->found, name, value);
}

/*
 * og_proof_text
 *		The proof as a JSON object, NULL if there is none.
 */
char *
og_proof_text(const OgAnswer *answer)
{
	StringInfoData buf;

	if (answer->expected == NULL && answer->found == NULL)
		return NULL;
	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"expected\": {%s}, \"found\": {%s}, \"lock\": ",
					 answer->expected ? answer->expected->data : "",
					 answer->found ? answer->found->data : "");
	escape_json(&buf, answer->lock ? answer->lock : "none");
	appendStringInfoChar(&buf, '}');
	return buf.data;
}

/* ------------------------------------------------------------------------
 * The row
 * ------------------------------------------------------------------------
 */

const char *
og_action_who(const OgRequest *request)
{
	return request->by ? request->by : og_rights_who();
}

/*
 * og_action_error
 *		What is recorded of an error: all who see the table read it.
 */
char *
og_action_error(const ErrorData *error)
{
	return psprintf("%s (SQLSTATE %s)", og_reason_error(error),
					unpack_sql_state(error->sqlerrcode));
}

/*
 * og_action_row
 *		What is recorded of an action.
 */
void
og_action_row(const OgCase *c, const OgRequest *request,
			  const OgAnswer *answer, OgActionRow *row)
{
	memset(row, 0, sizeof(*row));
	row->incident = c->id;
	row->action = request->action;
	row->by = og_action_who(request);
	if (!request->unattended)
	{
		row->login = GetUserNameFromId(GetSessionUserId(), false);
		row->role = GetUserNameFromId(GetUserId(), false);
	}
	else if (OidIsValid(request->role))
		row->role = GetUserNameFromId(request->role, true);
	row->result = answer->result;
	row->detail = answer->detail;
	row->proof = og_proof_text(answer);
	row->note = request->note;
	row->args = request->args ?
		JsonbToCString(NULL, &request->args->root,
					   VARSIZE(request->args)) : "{}";
}

/*
 * og_action_insert
 *		Writes it; its id.
 */
int64
og_action_insert(const OgActionRow *row)
{
	static const Oid types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	const char *texts[] = {row->action, row->by, row->login, row->role,
		row->result, row->detail, row->proof, row->note, row->args
	};
	char		nulls[] = "          ";
	Datum		args[lengthof(types)];
	int64		id;

	args[0] = Int64GetDatum(row->incident);
	for (int i = 0; i < lengthof(texts); i++)
	{
		nulls[i + 1] = texts[i] ? ' ' : 'n';
		args[i + 1] = texts[i] ? CStringGetTextDatum(texts[i]) : (Datum) 0;
	}
	og_action_sql("INSERT INTO order_guard.action (incident, action, "
				  "by, login, role, result, detail, proof, note, "
				  "args, done_at) VALUES ($1, $2, $3, $4, $5, $6, "
				  "$7, $8::jsonb, $9, $10::jsonb, "
				  "CASE WHEN $6 <> 'queued' "
				  "THEN clock_timestamp() END) RETURNING id",
				  lengthof(types), types, args, nulls);
	id = strtoll(og_incident_column(0, 1), NULL, 10);
	SPI_freetuptable(SPI_tuptable);
	return id;
}
