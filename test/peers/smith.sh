# shellcheck shell=bash disable=SC2154
#
# smith.sh: sqlsmith writes SMITH_QUERIES statements as a plain user, while
# transactions with orders are open.  Nothing crashes, nothing fails that
# "cannot happen" (SQLSTATE XX000), and what the user may not change stays as
# it is.

# Internal errors that are PostgreSQL's own, nonsense that anybody may ask of
# it: those raised by one of its SQL functions itself (acldefault('R', 1)),
# and these, by what such functions and the parser call.  With function and
# file, so that no other ones are meant.
KNOWN_XX000='^XX000: failed to find conversion function from .*'
KNOWN_XX000+=' \(coerce_type, parse_coerce.c\)$'
KNOWN_XX000+='|^XX000: invalid INTERVAL typmod: 0x[0-9a-f]*'
KNOWN_XX000+=' \(intervaltypmodleastfield, timestamp.c\)$'

# And of other classes: pg_tablespace_location() of any number.
KNOWN_OTHER='^58P01: could not stat file "pg_tblspc/'

# What a statement may fail with, if its author knows nothing: not supported,
# data, constraints, states, names and rights, limits, a statement's time-out,
# and tokens that were settled.
EXPECTED='0A000|2....|3....|42...|54...|55...|57014|P000.|OG...'

smith_start()
{
	DATA=$OG_TMP/smith
	og_start_server "$DATA" <<-EOC
		order_guard.journal_directory = '$DATA'
		order_guard.open_threshold = '1s'
		order_guard.vanish_grace = 0
		restart_after_crash = on
		log_error_verbosity = verbose
		log_line_prefix = '[%p] %a %b '
	EOC
	psql -Xq -v ON_ERROR_STOP=1 -f "$OG_ROOT/test/peers/smith.sql" \
		>"$OG_TMP/smith.log" 2>&1 || {
		cat "$OG_TMP/smith.log"
		og_fail "the schema for sqlsmith cannot be made"
	}
	digest=$(smith_digest)
}

# What a plain user must not be able to change.
smith_digest()
{
	query "SELECT md5(string_agg(x, ',')) FROM (
		SELECT w::text AS x FROM order_guard.watch w
			WHERE w.relation <> 'forge.orders'::regclass
		UNION ALL SELECT p::text FROM payments p
		UNION ALL SELECT t::text FROM payouts t
		UNION ALL SELECT rolname || rolsuper FROM pg_roles
		ORDER BY 1) y"
}

# An open transaction that holds orders, as long as sqlsmith runs.
smith_hold()
{
	query "BEGIN; UPDATE payouts SET status = 'REQUESTED' WHERE id <= 3;
		SELECT pg_sleep(100000)" >/dev/null 2>&1 &
	holder=$!
	query "BEGIN; SET SESSION AUTHORIZATION smith;
		INSERT INTO forge.orders VALUES (200, 'held', 'NEW');
		SELECT pg_sleep(100000)" >/dev/null 2>&1 &
	holder+=" $!"
}

# The log is verbose: "[pid] program backend ERROR:  XX000: message", then
# "LOCATION:  function, file.c:line".
smith_internal_errors()
{
	query "SELECT DISTINCT prosrc FROM pg_proc JOIN pg_language l
		ON l.oid = prolang AND lanname = 'internal'" >"$OG_TMP/internal"
	perl -ne 'BEGIN {
			open my $names, "<", shift or die "no names: $!";
			chomp(@own = <$names>);
			@own{@own} = ();
		}
		if (/^\[(\d+)\] .*?(?:ERROR|FATAL):\s+(XX[0-9A-Z]{3}: .*)/) {
			$error{$1} = $2;
		} elsif (/^\[(\d+)\] .*?LOCATION:\s+(\S+), (\S+):\d+/) {
			print "$error{$1} ($2, $3)\n"
				if exists $error{$1} && !exists $own{$2};
			delete $error{$1};
		}' "$OG_TMP/internal" "$DATA/server.log"
}

# SQLSTATEs that are not to be expected, with how often they came; XX are
# looked at by themselves.
smith_other_classes()
{
	sed -nE 's/.*(ERROR|FATAL): +([0-9A-Z]{5}:.*)/\2/p' "$DATA/server.log" |
		grep -vE "^($EXPECTED|XX...):" |
		grep -vE "$KNOWN_OTHER" |
		sort | uniq -c | sort -rn | head -n 20
}

smith_crashes()
{
	grep -E 'PANIC:|TRAP:|was terminated by signal|terminated by exception' \
		"$DATA/server.log" | head -n 5 >>"$problems" || true
	smith_internal_errors | grep -vE "$KNOWN_XX000" | sort | uniq -c |
		sort -rn | head -n 20 >>"$problems" || true
	smith_other_classes >>"$problems" || true
	# whatever a query says, the worker must not stumble
	grep -E '\] order_guard worker .*(ERROR|FATAL|WARNING):' \
		"$DATA/server.log" | head -n 5 >>"$problems" || true
}

check_smith()
{
	local queries=${SMITH_QUERIES:-20000} done_queries
	local holder digest
	smith_start
	smith_hold
	wait_for "orders are held" "SELECT count(*) = 4
		FROM order_guard.in_flight" || return 0
	og_as_user "$(type -P sqlsmith)" --seed="${SEED:-1}" \
		--max-queries="$queries" --verbose \
		--target="host=$PGHOST port=$PGPORT user=smith dbname=postgres" \
		>"$OG_TMP/sqlsmith.out" 2>"$OG_TMP/sqlsmith.log" ||
		complain "sqlsmith fails: $(tail -n 3 "$OG_TMP/sqlsmith.log")"
	smith_crashes
	done_queries=$(sed -n 's/^queries: \([0-9]*\).*/\1/p' \
		"$OG_TMP/sqlsmith.log" | tail -n 1)
	[ "$(smith_digest)" = "$digest" ] ||
		complain "a plain user has changed what he may not"
	[ "$(query "SELECT state FROM order_guard.stat_worker")" = running ] ||
		complain "the worker does not run"
	# shellcheck disable=SC2086
	kill $holder 2>/dev/null || true
	og_stop_server "$DATA" immediate
	report "sqlsmith, ${done_queries:-$queries} queries as a plain user"
}
