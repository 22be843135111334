#!/bin/bash
#
# make check: build with warnings as errors, install into a private copy of
# PostgreSQL, and run the regress tests, the isolation specs and the TAP
# tests there.  One line per test, the last line is "N passed, N failed".
#
#   TESTS="a b"                only these regress tests (after setup) or specs;
#                              sim is the simulated journal, torture that
#                              of test/torture
#   PROVE_TESTS="test/t/x.pl"  only these TAP files (patterns may be used)
#   OG_TEST_TIMEOUT=900        limit in seconds for a TAP file; four times
#                              that for all regress tests, for all specs
#   OG_KEEP=1                  keep the temporary folder
# shellcheck disable=SC1091
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

TESTS=${TESTS:-}
PROVE_TESTS=${PROVE_TESTS:-}
TIMEOUT=${OG_TEST_TIMEOUT:-900}
passed=0
failed=0

ok()
{
	passed=$((passed + 1))
	printf 'ok      %s\n' "$*"
}

not_ok()
{
	failed=$((failed + 1))
	printf 'FAILED  %s\n' "$*"
}

# Report the exit status of what was done just before, with its output.
report()
{
	local rc=$1 log=$2
	shift 2
	if [ "$rc" -eq 0 ]; then
		ok "$@"
	else
		not_ok "$@"
		tail -n 60 "$log" | sed 's/^/    /'
	fi
}

finish()
{
	echo "$passed passed, $failed failed"
	[ "$failed" -eq 0 ]
}

# --- which tests ------------------------------------------------------------

# The names of the files of one kind, setup first.
names()
{
	{ find "$SRC/$1" -maxdepth 1 -name "*.$2" -printf '%f\n' \
		2>/dev/null || true; } |
		sed "s/\.$2\$//; s/^setup\$/ &/" | sort | tr -d ' '
}

# Those of the given names that TESTS asks for.
wanted()
{
	local name
	for name in "$@"; do
		if [ "$name" = setup ] || [[ " $TESTS " == *" $name "* ]]; then
			echo "$name"
		fi
	done
}

tap_files()
{
	local pattern
	cd "$SRC"
	for pattern in ${1:-test/t/*.pl test/faults/*.pl}; do
		if [ -e "$pattern" ]; then
			echo "$pattern"
		elif [ -n "$1" ]; then
			echo "no such test: $pattern" >&2
			return 1
		fi
	done
}

# Sets tap and faults.
split_tap()
{
	local files
	files=$(tap_files "$1")
	tap=$(grep -v '^test/faults/' <<<"$files") || true
	faults=$(grep '^test/faults/' <<<"$files") || true
}

select_tests()
{
	local name
	regress=$(names test/sql sql)
	isolation=$(names test/specs spec)
	tap='' faults=''
	if [ -z "$TESTS$PROVE_TESTS" ]; then
		split_tap ""
		return
	fi
	for name in $TESTS; do
		grep -qx -- "$name" <<<"$regress"$'\n'"$isolation"$'\nsim\ntorture' ||
			og_fail "no such test: $name"
	done
	# shellcheck disable=SC2086
	regress=$(wanted $regress) isolation=$(wanted $isolation)
	[ -n "$TESTS" ] || regress=
	[ -z "$PROVE_TESTS" ] || split_tap "$PROVE_TESTS"
}

# --- running them -----------------------------------------------------------

build()
{
	local rc=0
	og_build_install "$SRC" >"$OG_TMP/build.log" 2>&1 || rc=$?
	report "$rc" "$OG_TMP/build.log" "build${DEBUG_FAULTS:+ with faults}"
	[ "$rc" -eq 0 ]
}

# Nothing but our own names may leave the library.
check_exports()
{
	local rc=0
	nm -D --defined-only "$SRC/order_guard.so" | awk '{ print $3 }' |
		grep -vE '^(og_.*|pg_finfo_.*|_PG_init|Pg_magic_func)$' \
			>"$OG_TMP/exports.log" || rc=$?
	report "$((rc != 1))" "$OG_TMP/exports.log" exported names
}

# META.json has to repeat the version of the control file.
check_version()
{
	local rc=0 version
	version=$(sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" \
		"$SRC/order_guard.control")
	grep '"version":' "$SRC/META.json" | grep -vF -e "\"$version\"" \
		-e '"version": "1.0.0",' >"$OG_TMP/version.log" || rc=$?
	report "$((rc != 1))" "$OG_TMP/version.log" version
}

# Run one of PGXS's suites on the server; pg_regress says "ok 1 - name" since
# PostgreSQL 16, "test name ... ok" before.  A test without such a line did
# not run.
run_suite()
{
	local variable=$1 kind=$2 tests=$3 log=$OG_TMP/$2.log name
	local before=$failed other=ISOLATION

	[ -n "$tests" ] || return 0
	[ "$variable" = REGRESS ] || other=REGRESS
	rm -f "$SRC/regression.diffs"
	og_limited "$((TIMEOUT * 4))" make -s -C "$SRC" \
		PG_CONFIG="$OG_BIN/pg_config" installcheck \
		"$variable=${tests//$'\n'/ }" "$other=" >"$log" 2>&1 || true
	for name in $tests; do
		if grep -qE "^(ok [0-9]+ +[-+] $name +[0-9]+ ms|test $name +\.\.\. ok )" \
			"$log"; then
			ok "$kind $name"
		else
			not_ok "$kind $name"
		fi
	done
	[ "$failed" -eq "$before" ] || explain_suite "$log"
}

explain_suite()
{
	if [ -s "$SRC/regression.diffs" ]; then
		head -n 400 "$SRC/regression.diffs"
	else
		tail -n 30 "$1"
	fi
	grep -E 'PANIC|TRAP|terminated by signal' "$DATA/server.log" || true
}

# In the background: reports, but does not count.
run_tap_file()
{
	local file=$1 rc=0 name log
	name=$(basename "$file" .pl)
	log=$OG_TMP/$name.log
	trap 'kill "$OG_CHILD"; wait "$OG_CHILD"; exit 143' TERM

	og_limited "$TIMEOUT" env -C "$SRC" \
		TESTDIR="$SRC" TESTDATADIR="$SRC/tmp_check" \
		TESTLOGDIR="$SRC/tmp_check/log" PG_CONFIG="$OG_BIN/pg_config" \
		PG_REGRESS="$OG_PGXS/src/test/regress/pg_regress" \
		prove -v -I "$OG_PGXS/src/test/perl" -I test/t "$file" \
		>"$log" 2>&1 || rc=$?
	if [ "$rc" -ne 0 ]; then
		tail -n 20 "$SRC/tmp_check/log/regress_log_$name" \
			>>"$log" 2>/dev/null || true
	fi
	[ "$rc" -ne 124 ] || echo "stopped after $TIMEOUT seconds" >>"$log"
	report "$rc" "$log" "tap $name"
	return "$rc"
}

count_tap_file()
{
	if wait -n; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
}

# Two at a time, for they wait a lot.
run_tap()
{
	local file running=0

	for file in $1; do
		if [ "$running" -eq 2 ]; then
			count_tap_file
		else
			running=$((running + 1))
		fi
		run_tap_file "$file" &
	done
	while [ "$running" -gt 0 ]; do
		count_tap_file
		running=$((running - 1))
	done
}

# Those in test/faults need a library that can inject failures.
run_fault_tests()
{
	[ -n "$faults" ] || return 0
	og_as_user make -s -C "$SRC" PG_CONFIG="$OG_BIN/pg_config" clean
	export DEBUG_FAULTS=1
	build && run_tap "$faults"
}

# Is this whole part asked for?
part_wanted()
{
	[ -z "$TESTS$PROVE_TESTS" ] || [[ " $TESTS " == *" $1 "* ]]
}

# The journal alone, without a server.
run_simulator()
{
	local name rc log=$OG_TMP/sim.log

	part_wanted sim || return 0
	if [ -n "$(og_missing_packages valgrind)" ]; then
		og_can_be_root || og_fail "run as root: apt-get install valgrind"
		og_install_packages valgrind || og_fail "no valgrind"
	fi
	og_as_user mkdir "$OG_TMP/sim"
	SIM_FILES=$OG_TMP/sim/files
	[ -z "${OG_SHM_IS_PRIVATE:-}" ] || SIM_FILES=/dev/shm/sim
	export SIM_FILES
	for name in $("$SRC/test/sim/run"); do
		rc=0
		og_limited "$TIMEOUT" "$SRC/test/sim/run" "$OG_TMP/sim" "$name" \
			>"$log" 2>&1 || rc=$?
		report "$rc" "$log" "sim $name: $(tail -n 1 "$log")"
	done
}

# On a server of its own.
run_torture()
{
	local rc=0 log=$OG_TMP/torture.log

	part_wanted torture || return 0
	OG_KEEP='' "$OG_ROOT/test/torture/run" >"$log" 2>&1 </dev/null &
	OG_CHILD=$!
	wait "$OG_CHILD" || rc=$?
	OG_CHILD=
	report "$rc" "$log" "$(head -n 1 "$log"): $(tail -n 1 "$log")"
}

run_server_suites()
{
	[ -n "$regress$isolation" ] || return 0
	DATA=$OG_TMP/data
	og_start_server "$DATA" </dev/null
	run_suite REGRESS regress "$regress"
	run_suite ISOLATION isolation "$isolation"
	og_stop_server "$DATA" || not_ok "server stops"
	unset PGHOST PGPORT PGUSER PGDATABASE
}

og_private_shm "$@"
og_packages
og_workdir
SRC=$OG_TMP/src
og_copy_source "$SRC"
select_tests
og_private_tree "$OG_TMP/pg"
if build; then
	check_exports
	check_version
	run_simulator
	run_server_suites
	run_torture
	run_tap "$tap"
	run_fault_tests
fi
finish
