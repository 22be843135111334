# shellcheck shell=bash disable=SC2154
#
# rewrite.sh: a table is written anew again and again, by pg_repack, VACUUM
# FULL and ALTER TYPE, while orders are placed: no order fails for it, none is
# missed, and nothing is reported that is not so.

rewrite_start()
{
	DATA=$OG_TMP/rewrite
	og_start_server "$DATA" <<-EOF
		order_guard.journal_directory = '$DATA'
		order_guard.naptime = '100ms'
		order_guard.vanish_grace = '1s'
	EOF
	query "CREATE EXTENSION order_guard; CREATE EXTENSION pg_repack;
		CREATE TABLE orders (id bigserial PRIMARY KEY, status text NOT NULL,
			amount numeric);
		SELECT order_guard.watch('orders', 'status', '{\"NEW\": \"1 h\"}',
			terminal => '{PAID}')" >/dev/null
	printf '%s\n' "BEGIN;" \
		"INSERT INTO orders (status, amount) VALUES ('NEW', 1)" \
		"	RETURNING id \\gset" \
		"UPDATE orders SET amount = 2 WHERE id = :id;" "COMMIT;" \
		"UPDATE orders SET status = 'PAID' WHERE id = :id AND id % 3 > 0;" \
		>"$OG_TMP/rewrite.pgbench"
	chmod 644 "$OG_TMP/rewrite.pgbench"
}

# rewrite_table TURN: one way after the other
rewrite_table()
{
	case $(($1 % 4)) in
	0) pg_repack -k -t orders -d postgres >"$OG_TMP/repack.log" 2>&1 ||
		complain "pg_repack: $(tail -n 3 "$OG_TMP/repack.log")" ;;
	1) query "VACUUM FULL orders" ;;
	2) query "ALTER TABLE orders ALTER status TYPE varchar(40)" ;;
	3) query "ALTER TABLE orders ALTER status TYPE text" ;;
	esac
}

check_rewrite()
{
	local clients turn=0 wrong
	rewrite_start
	pgbench -n -c 4 -T 12 -f "$OG_TMP/rewrite.pgbench" postgres \
		>"$OG_TMP/rewrite.log" 2>&1 &
	clients=$!
	while kill -0 "$clients" 2>/dev/null; do
		rewrite_table "$turn" || complain "turn $turn fails"
		turn=$((turn + 1))
	done
	wait "$clients" || complain "$(tail -n 5 "$OG_TMP/rewrite.log")"
	grep -q '^number of failed transactions: 0 ' "$OG_TMP/rewrite.log" ||
		complain "$(grep failed "$OG_TMP/rewrite.log")"
	[ "$turn" -ge 4 ] || complain "only $turn times"
	# what a sweep is still to find is found
	wait_for "all is swept" "SELECT NOT EXISTS (SELECT
		FROM order_guard.watch_state WHERE sweep IS NOT NULL)
		AND (SELECT count(*) FROM order_guard.scan()) = 1" || return 0
	wrong=$(query "SELECT count(*) FROM (SELECT id::text FROM orders
			WHERE status = 'NEW' EXCEPT ALL
			SELECT key FROM order_guard.tracked) t")
	[ "$wrong" = 0 ] || complain "$wrong orders are not tracked"
	wrong=$(query "SELECT count(*) FROM (SELECT key FROM order_guard.tracked
		EXCEPT ALL SELECT id::text FROM orders WHERE status = 'NEW') t")
	[ "$wrong" = 0 ] || complain "$wrong tracked orders are not there"
	complain_of_incidents
	report "$(query "SELECT count(*) FROM orders") orders, written anew" \
		"$turn times by pg_repack, VACUUM FULL and ALTER TYPE"
	og_stop_server "$DATA"
}

# A gap while a trigger was being made anew is told, and has to be over.
complain_of_incidents()
{
	local open
	open=$(query "SELECT string_agg(kind || ': ' || summary, '; ')
		FROM order_guard.incident
		WHERE state = 'open' OR kind IN ('vanished', 'deleted')")
	[ -z "$open" ] || complain "$open"
}
