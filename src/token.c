/*
 * token.c
 *		Tokens for applications that have no column for them: the setting
 *		order_guard.token, of a session or a transaction.
 *
 * Runs in backends, in the trigger of the guard, for watches with the option
 * {"token": "setting"}.  For each order that is inserted under a token a row
 * of order_guard.token_use is written, which commits with the order.  The
 * first one of a transaction is its claim, and of claims there is one for a
 * token: a second transaction waits for the first, and if that commits it is
 * refused, unless the watch says {"reuse": "incident"}: then the row is
 * marked, and the worker reports it (detect_duplicate.c).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "columns.h"
#include "errors.h"
#include "guard.h"
#include "keyhash.h"
#include "keytext.h"
#include "query.h"
#include "rights.h"

#define MAX_KEY 8

/* What is written about an order. */
typedef struct Use
{
	OgKeyHash	key;
	OgKeyHash	content;		/* amount and customer */
	char	   *field[MAX_KEY];
	int			nfields;
} Use;

static OgPlan use_plan = {
	"INSERT INTO order_guard.token_use AS u (token, watch, hash, key, "
	"content, claim, reused) SELECT $1, w.id, $3, $4, $5, "
	"w.options ->> 'reuse' IS DISTINCT FROM 'incident' AND NOT EXISTS ("
	"SELECT FROM order_guard.token_use o WHERE o.token = $1 AND o.claim "
	"AND o.xid = pg_current_xact_id()), "
	"w.options ->> 'reuse' IS NOT DISTINCT FROM 'incident' "
	"AND EXISTS (SELECT FROM order_guard.token_use o WHERE o.token = $1 "
	"AND o.xid <> pg_current_xact_id()) "
	/* anybody can make a trigger that names somebody else's watch */
	"FROM order_guard.watch w WHERE w.id = $2 AND (w.relation = $6 "
	"OR w.relation IN (SELECT p.relid FROM pg_partition_ancestors($6) p)) "
	"ON CONFLICT (token) WHERE claim DO NOTHING", NULL
};

static OgPlan claim_plan = {
	"SELECT u.content = $2, u.at::text FROM order_guard.token_use u "
	"WHERE u.token = $1 AND u.claim AND u.xid <> pg_current_xact_id()", NULL
};

/* All that columns of one role say of a row. */
static void
read_row(const TriggerData *data, Use *use)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	const char *place = og_columns_first(data->tg_trigger);
	OgColumnName column;

	og_keyhash_begin(&use->key);
	og_keyhash_begin(&use->content);
	while (og_columns_next(&place, &column))
	{
		AttrNumber	attnum = get_attnum(RelationGetRelid(data->tg_relation),
										column.name);
		Form_pg_attribute attribute;
		Datum		value;
		bool		isnull;

		if (attnum <= 0 || strchr("kac", column.role) == NULL)
			continue;
		attribute = TupleDescAttr(desc, attnum - 1);
		value = slot_getattr(data->tg_trigslot, attnum, &isnull);
		og_keyhash_add(column.role == 'k' ? &use->key : &use->content, value,
					   isnull, attribute->atttypid, attribute->attlen,
					   attribute->attbyval);
		if (column.role == 'k' && use->nfields < MAX_KEY)
		{
			Oid			function;
			bool		varlena;

			getTypeOutputInfo(attribute->atttypid, &function, &varlena);
			use->field[use->nfields++] = isnull ? NULL :
				OidOutputFunctionCall(function, value);
		}
	}
}

static Datum
hash_datum(const OgKeyHash *hash)
{
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	memcpy(uuid->data, hash->half, UUID_LEN);
	return UUIDPGetDatum(uuid);
}

/* Nothing was written: because of another's claim, or of a forged trigger. */
static void
check_claim(const char *token, Datum content)
{
	Oid			types[] = {TEXTOID, UUIDOID};
	Datum		values[] = {CStringGetTextDatum(token), content};
	bool		same;
	char	   *at;

	og_query_run(&claim_plan, 2, types, values, NULL);
	if (SPI_processed == 0)
		return;
	same = DatumGetBool(og_query_datum(0, 0));
	at = og_query_text(0, 1);
	ereport(ERROR,
			(errcode(OG_ERRCODE_TOKEN_REUSED),
			 errmsg("token \"%s\" has been used", token),
			 same ? errdetail("An order with the same amount and customer was "
							  "placed under it at %s.", at) :
			 errdetail("Another order was placed under it at %s.", at),
			 errhint("order_guard.outcome() tells which; a new order needs a "
					 "new token.")));
}

static void
write_use(const char *token, uint32 watch, Oid relation, Use *use)
{
	Oid			types[] = {TEXTOID, INT4OID, UUIDOID, TEXTOID, UUIDOID,
	REGCLASSOID};
	char	   *key = og_keytext_join(use->field, use->nfields);
	Datum		content = hash_datum(&use->content);
	Datum		values[] = {CStringGetTextDatum(token), Int32GetDatum(watch),
		hash_datum(&use->key), CStringGetTextDatum(key ? key : ""), content,
	ObjectIdGetDatum(relation)};
	OgRights	saved;

	SPI_connect();
	og_rights_raise(&saved);
	og_query_run(&use_plan, 6, types, values, NULL);
	if (SPI_processed == 0)
		check_claim(token, content);
	og_rights_restore(&saved);
	SPI_finish();
}

/*
 * og_token_note
 *		See guard.h.
 */
void
og_token_note(const TriggerData *data, uint32 watch)
{
	const char *token = GetConfigOption("order_guard.token", true, false);
	Use			use = {0};

	if (token == NULL || *token == '\0')
		return;
	read_row(data, &use);
	write_use(token, watch, RelationGetRelid(data->tg_relation), &use);
	og_guard_add(token);
}
