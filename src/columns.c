/*
 * columns.c
 *		The argument of a watch's triggers: its number and its columns, as in
 *		"7 k1 id, s5 status", each a role, an attribute number and a name as
 *		quote_ident() writes it.
 *
 * One argument for all, because each statement that writes to a table copies
 * the arguments of all its triggers one by one.
 */
#include "postgres.h"

#include "columns.h"

/* Named so by watch(); the price of a mistake is one hint too many. */
bool
og_columns_is_ours(const Trigger *trigger)
{
	return trigger->tgnargs > 0 &&
		strncmp(trigger->tgname, "00_order_guard_", 15) == 0;
}

/* Called for each statement: strtol() with its locale costs too much. */
uint32
og_columns_watch(const Trigger *trigger)
{
	const char *p = trigger->tgnargs > 0 ? trigger->tgargs[0] : "";
	uint32		watch = 0;

	for (; *p >= '0' && *p <= '9'; p++)
		watch = watch * 10 + (*p - '0');
	return watch;
}

/* The watch of a relation with these triggers; 0: none. */
uint32
og_columns_watch_of(const TriggerDesc *triggers)
{
	for (int i = 0; triggers && i < triggers->numtriggers; i++)
		if (og_columns_is_ours(&triggers->triggers[i]))
			return og_columns_watch(&triggers->triggers[i]);
	return 0;
}

/* Where og_columns_next() is to begin. */
const char *
og_columns_first(const Trigger *trigger)
{
	const char *p = trigger->tgnargs > 0 ? trigger->tgargs[0] : "";

	return p + strspn(p, "0123456789");
}

/*
 * og_columns_next
 *		The column at *place, which then moves past it; false at the end.
 */
bool
og_columns_next(const char **place, OgColumnName *column)
{
	const char *p = *place + strspn(*place, ", ");
	int			length = 0;
	bool		quoted;
	char	   *end;

	if (*p == '\0')
		return false;
	column->role = *p++;
	column->attnum = strtol(p, &end, 10);
	p = end + (*end == ' ');
	quoted = *p == '"';
	p += quoted;
	while (*p && length < NAMEDATALEN - 1)
	{
		/* Of two quotes the second belongs to the name. */
		if (quoted ? *p == '"' && *++p != '"' : *p == ',')
			break;
		column->name[length++] = *p++;
	}
	column->name[length] = '\0';
	*place = p;
	return true;
}
