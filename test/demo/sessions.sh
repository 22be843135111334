# shellcheck shell=bash
#
# sessions.sh: connections that stay open between two statements.
#
#   open_session NAME    a psql whose application_name is NAME
#   say NAME SQL         have it run SQL and wait until that is done
#   begin_saying NAME SQL   the same without waiting
#   session_pid NAME     the process id of its backend
#   close_session NAME
#   query SQL            the answer of a short-lived connection
#   wait_for WHAT SQL    until SQL answers t; ends the demonstration if it
#                        does not within half a minute

declare -A session_fd session_psql
said=0

query()
{
	psql -XqAt -v ON_ERROR_STOP=1 -c "$1"
}

wait_for()
{
	local deadline=$((SECONDS + 30))
	until [ "$(query "$2" 2>>"$OG_TMP/wait.log")" = t ]; do
		if [ "$SECONDS" -ge "$deadline" ]; then
			give_up "this did not happen: $1"
		fi
		sleep 0.1
	done
}

open_session()
{
	local fd
	mkfifo "$OG_TMP/$1.in"
	PGAPPNAME=$1 psql -XqAt <"$OG_TMP/$1.in" >"$OG_TMP/$1.out" 2>&1 &
	session_psql[$1]=$!
	exec {fd}>"$OG_TMP/$1.in"
	session_fd[$1]=$fd
	say "$1" "SELECT 'backend', pg_backend_pid()"
}

begin_saying()
{
	echo "$2;" >&"${session_fd[$1]}"
}

say()
{
	local deadline=$((SECONDS + 30))
	said=$((said + 1))
	begin_saying "$1" "$2"
	echo "\\echo said $said" >&"${session_fd[$1]}"
	until grep -qx "said $said" "$OG_TMP/$1.out"; do
		[ "$SECONDS" -lt "$deadline" ] || give_up "$1 hangs: $2"
		sleep 0.02
	done
}

session_pid()
{
	sed -n 's/^backend|//p' "$OG_TMP/$1.out"
}

close_session()
{
	local fd=${session_fd[$1]}
	exec {fd}>&-
	wait "${session_psql[$1]}" 2>/dev/null || true
}
