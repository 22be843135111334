# shellcheck shell=bash disable=SC2154
#
# faults.sh: what goes wrong while orders are placed.  Each scene makes its
# fault for real, and then every order has to be there exactly once, and the
# client has to know it.
#
# $peer and $via say who places them, and by which way.

# Tokens are unique in all scenes.
begin_scene()
{
	scene=$1
	tokens=()
	answers=$OG_TMP/answers
	position=$(log_position)
	: >"$answers"
}

# place ROLE TOKEN=AMOUNT...: in this scene's names
place()
{
	local role=$1 order
	local orders=()
	shift
	for order in "$@"; do
		tokens+=("$peer-$via-$scene-${order%=*}")
		orders+=("$peer-$via-$scene-$order")
	done
	(peer_run "$role" "${orders[@]}" >"$answers" 2>"$OG_TMP/stderr") ||
		complain "$peer ends badly: $(head -n 5 "$OG_TMP/stderr")"
}

# The same, while this script goes on; the holder is not the client's.
place_meanwhile()
{
	token=$peer-$via-$scene-1
	tokens=("$token")
	(peer_run shop "$token=1" >"$answers" 2>"$OG_TMP/stderr") 7<&- 8>&- &
	client=$!
}

end_meanwhile()
{
	wait "$client" ||
		complain "$peer ends badly: $(head -n 5 "$OG_TMP/stderr")"
}

# Are the answers those that the table gives?
expect_placed()
{
	local list rows
	list=$(printf "'%s'," "${tokens[@]}")
	rows=$(query "SELECT token || ' placed ' || id FROM orders
		WHERE token IN (${list%,}) ORDER BY id")
	[ "$(wc -l <<<"$rows")" -eq "${#tokens[@]}" ] ||
		complain "in the table: $rows"
	[ "$(cat "$answers")" = "$rows" ] ||
		complain "said: $(cat "$answers"); in the table: $rows"
}

expect_none()
{
	[ "$(cat "$answers")" = "${tokens[0]} $1" ] ||
		complain "said: $(cat "$answers")"
	[ "$(query "SELECT count(*) FROM orders
		WHERE token = '${tokens[0]}'")" = 0 ] ||
		complain "it is in the table"
}

# Has the fault been one?  An attempt of the last token says so.
expect_attempt()
{
	wait_for "an attempt with $1" "SELECT EXISTS (
		SELECT FROM order_guard.attempts
		WHERE token = '${tokens[-1]}' AND $1)" || true
}

end_scene()
{
	report "$peer $via: $*"
}

# --- an order of somebody else's that holds the token ----------------------

hold_token()
{
	local from to
	coproc HOLDER { psql -XqAt -U "${1:-postgres}" 2>&1; }
	from=${HOLDER[0]} to=${HOLDER[1]}
	exec 7<&"$from" 8>&"$to" {from}<&- {to}>&-
	holder=$HOLDER_PID
	hold_say "BEGIN; INSERT INTO orders (token, amount)
		VALUES ('$peer-$via-$scene-1', 1)"
}

hold_say()
{
	local line
	printf '%s;\n\\echo -end-\n' "$1" >&8
	while IFS= read -r line <&7; do
		[ "$line" != -end- ] || return 0
	done
}

hold_end()
{
	[ -z "${1:-}" ] || hold_say "$1"
	exec 8>&- 7<&-
	wait "$holder" 2>/dev/null || true
}

# The backend of the client that waits for the holder.
wait_for_waiter()
{
	wait_for "the client waits" "SELECT count(*) = 1 FROM pg_stat_activity
		WHERE usename = 'shop' AND wait_event_type = 'Lock'" || true
	waiter=$(query "SELECT pid FROM pg_stat_activity
		WHERE usename = 'shop' AND wait_event_type = 'Lock'")
}

signal_waiter()
{
	og_as_user kill "-$1" "$waiter" || complain "no such backend"
}

# --- scenes -----------------------------------------------------------------

scene_plain()
{
	begin_scene plain
	place shop a=1 b=2 c=3
	expect_placed
	end_scene "nothing happens"
}

scene_before_commit()
{
	begin_scene before
	place shop_before a=1 b=2
	expect_placed
	expect_attempt "cause = 'connection lost'"
	end_scene "cut before the commit"
}

scene_after_commit()
{
	begin_scene after
	place shop_after a=1 b=2
	expect_placed
	[ "$(logged "$position" 'will cut the connection after')" -eq 2 ] ||
		complain "nothing was cut"
	end_scene "cut after the commit"
}

scene_refused()
{
	begin_scene refused
	place shop a=-1
	expect_none "refused 23514"
	end_scene "refused by a constraint"
}

# The server cannot even note it: only settle() is an answer.
scene_not_understood()
{
	begin_scene garbage
	place shop a=x
	if [ "$HAS_SETTLE" = t ]; then
		expect_none "not placed"
	else
		expect_none unknown
	fi
	end_scene "not understood by the server"
}

scene_timeout_then_rollback()
{
	begin_scene timeout-rollback
	hold_token
	place_meanwhile
	expect_attempt "sqlstate = '57014'"
	hold_end ROLLBACK
	end_meanwhile
	expect_placed
	end_scene "statement time-out; the other attempt is rolled back"
}

scene_timeout_then_commit()
{
	begin_scene timeout-commit
	hold_token
	place_meanwhile
	expect_attempt "sqlstate = '57014'"
	hold_end COMMIT
	end_meanwhile
	expect_placed
	end_scene "statement time-out; the other attempt commits"
}

scene_terminated()
{
	begin_scene terminated
	hold_token
	place_meanwhile
	wait_for_waiter
	query "SELECT pg_terminate_backend($waiter)" >/dev/null
	expect_attempt "cause = 'terminated'"
	hold_end ROLLBACK
	end_meanwhile
	expect_placed
	end_scene "backend terminated"
}

# It says nothing, and is not gone.
scene_silent()
{
	begin_scene silent
	hold_token
	SILENCE=2 place_meanwhile
	wait_for_waiter
	signal_waiter STOP
	wait_for_log "order_guard.outcome"
	hold_end ROLLBACK
	signal_waiter CONT
	end_meanwhile
	expect_placed
	end_scene "backend silent"
}

wait_for_log()
{
	local turn
	for ((turn = 0; turn < 600; turn++)); do
		[ "$(logged "$position" "$1")" -eq 0 ] || return 0
		sleep 0.1
	done
	complain "not in the log: $1"
}

scene_killed()
{
	begin_scene killed
	hold_token
	place_meanwhile
	wait_for_waiter
	signal_waiter KILL
	hold_end
	end_meanwhile
	expect_placed
	expect_attempt "cause = 'crash'"
	end_scene "backend killed, the server restarts"
}

# The customer waits for a second; what holds his order is his own.
scene_given_up()
{
	begin_scene given-up
	hold_token shop
	PATIENCE=1 place_meanwhile
	end_meanwhile
	if [ "$HAS_SETTLE" = t ]; then
		hold_end COMMIT
		expect_none "not placed"
	else
		hold_end ROLLBACK
		expect_none unknown
	fi
	end_scene "given up"
}
