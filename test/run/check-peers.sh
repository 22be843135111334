#!/bin/bash
#
# make check-peers: order_guard with its neighbours.  The retry loops of
# doc/outcome.md, in Python, Java and Node, against connections that are cut,
# time-outs and killed backends, directly and through pgbouncer; 200 clients
# on 10 backends of pgbouncer; programs that ask a bad gateway about stuck
# payments; pgaudit loaded before and after; sqlsmith as a plain user; clients
# of all kinds while faults strike.  One line per test, the last line is
# "N passed, N failed".
#
#   PEERS="python java node"   only these languages
#   SCENES="silent killed"     only these scenes, see test/peers/faults.sh;
#                              smith is sqlsmith, gateway the bad gateway,
#                              torture that of test/torture with all clients
#   SMITH_QUERIES=20000        how many, from SEED=1
#   OG_KEEP=1                  keep the temporary folder
# shellcheck disable=SC1091,SC2034
set -euo pipefail
run=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$run/lib.sh"
. "$run/../peers/server.sh"
. "$run/../peers/faults.sh"
. "$run/../peers/audit.sh"
. "$run/../peers/rewrite.sh"
. "$run/../peers/smith.sh"

PEERS=${PEERS:-python java node}
passed=0
failed=0

# report WHAT: the test that was just done; complain() has filled $problems.
report()
{
	if [ ! -s "$problems" ]; then
		passed=$((passed + 1))
		printf 'ok      %s\n' "$*"
	else
		failed=$((failed + 1))
		printf 'FAILED  %s\n' "$*"
		sed 's/^/    /' "$problems"
	fi
	: >"$problems"
}

# --- the loops --------------------------------------------------------------

# Is the part between the marks of a program in the document?
is_shown()
{
	perl -e 'use strict; local $/;
		my ($program, $doc) = @ARGV;
		my $loop;
		open my $file, "<", $program or die "$program: $!";
		($loop) = <$file> =~ /the loop ---\n\n(.*?)\n+ *\S+ --- end/s;
		$loop =~ s/^    //mg if $program =~ /java$/;
		open $file, "<", $doc or die "$doc: $!";
		exit(index(<$file>, $loop) < 0)' "$1" "$2"
}

check_doc()
{
	local name
	for name in retry.py Retry.java retry.mjs; do
		is_shown "$OG_ROOT/test/peers/$name" \
			"$OG_ROOT/doc/outcome.md" ||
			complain "doc/outcome.md does not show the loop of $name"
	done
	report "doc/outcome.md shows what runs"
}

# check_peer LANGUAGE WAY SCENE...
check_peer()
{
	local scene
	peer=$1 via=$2
	shift 2
	for scene in "$@"; do
		if [ -z "${SCENES:-}" ] || [[ " $SCENES " == *" $scene "* ]]; then
			"scene_$scene"
		fi
	done
}

check_peers()
{
	local name
	for name in $PEERS; do
		check_peer "$name" direct plain before_commit after_commit \
			refused not_understood timeout_then_rollback \
			timeout_then_commit terminated silent killed given_up
	done
	bouncer_start
	# Java's driver knows no unix sockets, and there is nothing else.
	for name in ${PEERS//java/}; do
		check_peer "$name" pgbouncer plain before_commit \
			after_commit terminated
	done
	[ -n "${SCENES:-}" ] || check_crowd
	bouncer_stop
}

check_crowd()
{
	query "TRUNCATE orders" && query "TRUNCATE order_guard.attempt"
	$PYTHON "$OG_TMP/peers/crowd.py" \
		"host=$BOUNCER port=6432 user=shop dbname=postgres" \
		"host=$PGHOST port=$PGPORT user=postgres dbname=postgres" \
		>"$problems" 2>&1 || complain "crowd.py fails"
	report "200 clients on 10 backends of pgbouncer"
}

# Its last line says what became of the payments.
check_gateway()
{
	local log=$OG_TMP/gateway.log
	is_shown "$OG_ROOT/test/demo/asker.py" "$OG_ROOT/doc/resolve.md" ||
		complain "doc/resolve.md does not show the loop of asker.py"
	$PYTHON -B "$OG_ROOT/test/demo/stuck_payments.py" \
		"host=$PGHOST port=$PGPORT user=postgres dbname=postgres" \
		>"$log" 2>&1 || complain "$(tail -n 20 "$log")"
	report "a bad gateway: $(tail -n 1 "$log")"
}

# The kinds of clients that take part in the torture, and have to.
torture_kinds()
{
	echo psql libpq{,_pooled}
	[[ $PEERS != *python* ]] || echo psycopg{,_pooled}
	[[ $PEERS != *node* ]] || echo node{,_pooled}
	[[ $PEERS != *java* ]] || echo jdbc
}

check_torture()
{
	local log=$OG_TMP/torture.log kind rc=0
	NODE_PATH=$OG_TMP/peers/node_modules OG_KEEP='' \
		"$OG_ROOT/test/torture/run" >"$log" 2>&1 </dev/null &
	wait $! || rc=$?
	[ "$rc" -eq 0 ] || complain "$(tail -n 60 "$log")"
	for kind in $(torture_kinds); do
		grep -qE "^orders by client:.* $kind [1-9]" "$log" ||
			complain "no orders of $kind"
	done
	report "$(head -n 1 "$log"): $(tail -n 1 "$log")"
}

og_private_shm "$@"
peers_packages
og_workdir
problems=$OG_TMP/problems
: >"$problems"
peers_build
peers_start
peers_programs
check_doc
check_peers
if [ -z "${SCENES:-}" ] || [[ " $SCENES " == *" gateway "* ]]; then
	check_gateway
fi
og_stop_server "$DATA"
[ -n "${SCENES:-}" ] || check_audit
if [ -z "${SCENES:-}" ] || [[ " $SCENES " == *" smith "* ]]; then
	check_smith
fi
if [ -z "${SCENES:-}" ] || [[ " $SCENES " == *" rewrite "* ]]; then
	check_rewrite
fi
if [ -z "${SCENES:-}" ] || [[ " $SCENES " == *" torture "* ]]; then
	check_torture
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
