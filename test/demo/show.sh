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
	[ -z "${PGHOST:-}" ] || tail -n 20 "$PGHOST/server.log" >&2
	exit 1
}

# Run a statement and show it as one would type it, with its answer.
show()
{
	printf '\n%s\n' "$1"
	psql -Xq -v ON_ERROR_STOP=1 -P footer=off -P null=- -P format=wrapped \
		-P columns=98 -c "$1"
}

show_in_flight()
{
	show "SELECT key AS order, operation, part, state, application_name AS who,
       date_trunc('second', age) AS age, blocked_by
FROM order_guard.in_flight WHERE application_name <> 'shop' ORDER BY pid, key;"
}

show_incidents()
{
	show "SELECT id, kind, severity, amount, summary
FROM order_guard.incidents WHERE state = 'open' ORDER BY id;"
}

show_left()
{
	show "SELECT count(*) AS open_incidents FROM order_guard.incidents
WHERE state = 'open';"
}
