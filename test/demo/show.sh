# shellcheck shell=bash
#
# show.sh: what a person sees.

bold= plain= green= red=
if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; then
	bold=$'\e[1m' plain=$'\e[0m' green=$'\e[32m' red=$'\e[31m'
fi

heading()
{
	printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}

tell()
{
	printf '  - %s\n' "$*"
}

give_up()
{
	printf '%s%s%s\n' "$red" "$*" "$plain" >&2
	if [ -n "${PGHOST:-}" ]; then
		psql -XqAt -F ' ' -c "SELECT 'missed:', * FROM demo.missed" >&2 || true
		tail -n 5 "$PGHOST/server.log" >&2
	fi
	exit 1
}

# Run a statement and show it as one would type it, with its answer.
show()
{
	printf '\n%s\n' "$1"
	psql -Xq -v ON_ERROR_STOP=1 -P footer=off -P null=- -P format=wrapped \
		-P columns=98 -c "$1" | sed '/^$/d'
}

# The incidents, one paragraph each.
show_incidents()
{
	local id kind severity summary
	printf '\nSELECT id, kind, severity, summary FROM order_guard.incidents\n'
	printf "WHERE state = 'open' ORDER BY id;\n"
	query "SELECT id, kind, severity, summary FROM order_guard.incidents
		WHERE state = 'open' ORDER BY id" |
		while IFS='|' read -r id kind severity summary; do
			printf '  #%-3s %s%-12s%s %s\n' "$id" "$bold" "$kind" \
				"$plain" "$severity"
			fold -s -w 88 <<<"$summary" | sed 's/^/       /; s/ *$//'
		done
}

show_in_flight()
{
	show "SELECT relation, key, operation, part, state, pid, application_name AS who,
  extract(epoch FROM age)::integer AS seconds, blocked_by
FROM order_guard.in_flight WHERE application_name <> 'shop' ORDER BY pid, key;"
}

show_by_kind()
{
	show "SELECT kind, relation, count(*), sum(amount) AS amount, min(key) AS first_key,
  min(evidence ->> 'reason') AS reason
FROM order_guard.incidents WHERE state = 'open' GROUP BY 1, 2 ORDER BY 1 DESC, 2;"
}

show_lost()
{
	show "SELECT count(*) AS reported_lost, count(o.id) AS found_in_table
FROM order_guard.incidents i LEFT JOIN orders o ON o.id::text = i.key
WHERE i.relation = 'orders'::regclass AND i.kind = 'vanished'
  AND i.evidence ->> 'operation' = 'I';"
}

show_left()
{
	show "SELECT count(*) AS open_incidents FROM order_guard.incidents
WHERE state = 'open';"
}
