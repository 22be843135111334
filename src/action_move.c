/*
 * action_move.c
 *		Moves an order to another status, if it is where the incident says.
 *
 * Runs in the backend of whoever asks, with his rights, his row security and
 * his search_path, so that the table's triggers see what they always see.
 * Compare and set: the row is read, its status compared, and the UPDATE
 * takes effect only on the version that was read (its xmin).
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "action_private.h"
#include "incident_private.h"
#include "key.h"

typedef struct Row
{
	bool		found;
	char	   *xmin;
	char	   *status;			/* NULL: null */
} Row;

static void
refuse(OgAnswer *answer, const char *detail)
{
	answer->result = "refused";
	answer->detail = pstrdup(detail);
}

static Row
read_row(const OgWatched *watched, const char *condition)
{
	Row			row = {0};
	char	   *sql;

	sql = psprintf("SELECT t.xmin, t.%s FROM %s AS t WHERE %s",
				   quote_identifier(watched->status),
				   og_key_relation_name(watched->relation), condition);
	SPI_execute(sql, false, 1);
	if (SPI_processed > 0)
	{
		row.found = true;
		row.xmin = og_incident_column(0, 1);
		row.status = og_incident_column(0, 2);
	}
	SPI_freetuptable(SPI_tuptable);
	return row;
}

static char *
describe(const Row *row)
{
	if (!row->found)
		return "no such row";
	return row->status ? row->status : "null";
}

/* What was expected, and what was found. */
static void
note(OgAnswer *answer, const OgCase *c, const Row *row)
{
	og_proof_expect(answer, "status", c->status);
	og_proof_find(answer, "status", row->found ? row->status : NULL);
	og_proof_find(answer, "xmin", row->found ? row->xmin : NULL);
	answer->lock = "none";
}

static void
moved_on(OgAnswer *answer, const OgCase *c, const Row *row)
{
	bool		same = row->found && row->status &&
		strcmp(row->status, c->status) == 0;

	answer->result = "moved_on";
	answer->detail = psprintf("expected %s, found %s%s", c->status,
							  describe(row),
							  same ? " in a changed row" : "");
}

/*
 * Updates that version of the row; false if it is not there any more.
 */
static bool
update_row(const OgWatched *watched, const char *condition, const Row *row,
		   const char *to, char **reached)
{
	const char *status = quote_identifier(watched->status);
	bool		updated;
	char	   *sql;

	sql = psprintf("UPDATE %s AS t SET %s = %s WHERE %s "
				   "AND t.xmin OPERATOR(pg_catalog.=) '%s'::pg_catalog.xid "
				   "RETURNING t.%s",
				   og_key_relation_name(watched->relation), status,
				   quote_literal_cstr(to), condition, row->xmin, status);
	SPI_execute(sql, false, 0);
	updated = SPI_processed > 0;
	*reached = updated ? og_incident_column(0, 1) : NULL;
	SPI_freetuptable(SPI_tuptable);
	return updated;
}

/*
 * og_action_move
 *		Moves the order of a case.
 */
void
og_action_move(const OgCase *c, const OgRequest *request, OgAnswer *answer)
{
	OgWatched  *watched = og_key_watched(c->watch);
	char	   *condition;
	char	   *reached;
	Row			row;
	Row			now;

	if (watched == NULL || watched->relation != c->relation)
	{
		refuse(answer, "the table is not watched any more");
		return;
	}
	if (!watched->plain)
	{
		refuse(answer, "the status is an expression, not a column");
		return;
	}
	if (c->key == NULL || c->status == NULL)
	{
		refuse(answer, "the incident is not about one order and its status");
		return;
	}
	condition = og_key_condition(watched, c->key);
	row = read_row(watched, condition);
	note(answer, c, &row);
	if (!row.found || row.status == NULL ||
		strcmp(row.status, c->status) != 0)
	{
		moved_on(answer, c, &row);
		return;
	}
	if (request->dry_run)
	{
		answer->result = "would_do";
		answer->detail = psprintf("would move from %s to %s", c->status,
								  request->to);
		return;
	}
	if (update_row(watched, condition, &row, request->to, &reached))
	{
		answer->result = "done";
		answer->detail = psprintf("moved from %s to %s", c->status,
								  reached ? reached : "null");
		answer->resolution = answer->detail;
		answer->lock = "row of the order, in the version that was read";
		return;
	}
	/* READ COMMITTED: this statement sees what was in the way */
	now = read_row(watched, condition);
	if (now.found && strcmp(now.xmin, row.xmin) == 0)
		refuse(answer, "a trigger or a policy kept the row as it is");
	else
		moved_on(answer, c, &now);
}
