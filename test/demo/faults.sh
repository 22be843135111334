# shellcheck shell=bash disable=SC2154,SC2016
#
# faults.sh: what goes wrong, each for real.  A fault tells demo.fault what
# order_guard has to report: expect NAME KIND TABLE KEY.

expect()
{
	query "INSERT INTO demo.fault (name, kind, relation, key)
		VALUES ('$1', '$2', 'public.$3', '$4')"
}

# The next number of a table, as an application takes it for its new order.
next_id()
{
	query "SELECT nextval('$1_id_seq')"
}

insert_order()
{
	echo "INSERT INTO orders (id, customer_id, client_ref, amount)
		VALUES ($1, $2, '$3', $4)"
}

# A finished order whose row serves a fault.
place_order()
{
	local id
	id=$(next_id orders)
	query "$(insert_order "$id" 450 "$1" "$2");
		UPDATE orders SET status = 'PAID' WHERE id = $id" >/dev/null
	echo "$id"
}

fault_idle()
{
	idle_order=$(next_id orders)
	open_session till-7
	say till-7 "BEGIN; $(insert_order "$idle_order" 451 till-7-0001 249.00)"
	expect idle uncommitted orders "$idle_order"
	tell "till-7 placed order $idle_order and never says COMMIT"
}

fault_lock_chain()
{
	local waiter
	blocked_order=$(place_order web-0002 89.90)
	open_session refunds
	say refunds "BEGIN; UPDATE orders SET status = 'REFUNDED'
		WHERE id = $blocked_order"
	for waiter in support-1 support-2; do
		open_session $waiter
		begin_saying $waiter "UPDATE orders SET status = 'CANCELLED'
			WHERE id = $blocked_order"
	done
	expect "lock chain" uncommitted orders "$blocked_order"
	tell "the refund job holds order $blocked_order;" \
		"two support agents wait behind it"
}

# The first to have waited for its deadlock_timeout becomes the victim.
fault_deadlock()
{
	local other
	lost_payout=$(query "INSERT INTO payouts (order_id, amount)
		VALUES (1001, 4200.00) RETURNING id")
	other=$(query "INSERT INTO payouts (order_id, amount, status)
		VALUES (1002, 17.50, 'SENT') RETURNING id")
	open_session payout-job
	open_session accounting
	say accounting "SET deadlock_timeout = '1min'"
	say payout-job "SET deadlock_timeout = '100ms'"
	say payout-job "BEGIN; UPDATE payouts SET status = 'SENT'
		WHERE id = $lost_payout"
	say accounting "BEGIN; UPDATE payouts SET note = 'audited'
		WHERE id = $other"
	begin_saying accounting "UPDATE payouts SET note = 'audited'
		WHERE id = $lost_payout"
	say payout-job "UPDATE payouts SET note = 'paid' WHERE id = $other"
	say payout-job ROLLBACK
	say accounting COMMIT
	close_session accounting
	close_session payout-job
	expect deadlock vanished payouts "$lost_payout"
	expect deadlock stalled payouts "$lost_payout"
	tell "the payout job sent payout $lost_payout and was shot in a deadlock"
}

# The second attempt is refused, and that is well: the order is there.
fault_duplicate()
{
	local first second
	first=$(place_order app-0004 35.00)
	second=$(next_id orders)
	query "$(insert_order "$second" 450 app-0004 35.00)" 2>/dev/null || true
	expect duplicate attempt orders "$second"
	tell "the app sends order $first once more, as $second: refused (23505)"
}

# A nightly job has locked the customer, and the order's foreign key waits.
fault_timeout()
{
	timeout_order=$(next_id orders)
	open_session nightly
	say nightly "BEGIN; SELECT FROM customers WHERE id = 452 FOR UPDATE"
	query "SET statement_timeout = '300ms';
		$(insert_order "$timeout_order" 452 web-0005 64.50)" 2>/dev/null || true
	say nightly COMMIT
	close_session nightly
	expect timeout vanished orders "$timeout_order"
	tell "order $timeout_order waits for a lock and times out in its INSERT"
}

fault_dead_client()
{
	dead_order=$(next_id orders)
	open_session kiosk-3
	say kiosk-3 "BEGIN; $(insert_order "$dead_order" 453 kiosk-0006 12.40)"
	kill -KILL "${session_psql[kiosk-3]}"
	close_session kiosk-3
	expect "dead client" vanished orders "$dead_order"
	tell "kill -9 hits the kiosk in the middle of order $dead_order"
}

fault_no_callback()
{
	local order
	order=$(place_order web-0007 310.00)
	silent_payment=$(query "INSERT INTO payments (order_id, amount)
		VALUES ($order, 310.00) RETURNING id")
	expect "no callback" stalled payments "$silent_payment"
	tell "the gateway never calls back for payment $silent_payment"
}

fault_deleted()
{
	deleted_order=$(next_id orders)
	query "$(insert_order "$deleted_order" 454 web-0008 75.25)"
	query "DELETE FROM orders WHERE id = $deleted_order"
	expect deleted deleted orders "$deleted_order"
	tell "somebody deletes order $deleted_order by hand while it is SUBMITTED"
}

make_faults()
{
	fault_idle
	fault_lock_chain
	fault_deadlock
	fault_duplicate
	fault_timeout
	fault_dead_client
	fault_no_callback
	fault_deleted
}

# --- the crash --------------------------------------------------------------

# The shop's clients are stopped for a moment, so that what they have open
# can be noted before it is gone.
freeze_traffic()
{
	kill -STOP "$traffic"
	wait_for "the shop's statements end" "SELECT bool_and(state <> 'active')
		FROM pg_stat_activity WHERE application_name = 'shop'"
	query "INSERT INTO demo.open_at_crash
		SELECT DISTINCT relation_name, key, operation, old_status
		FROM (SELECT 'public.' || relation AS relation_name, *
			FROM order_guard.in_flight
			WHERE part = 'holds' AND state LIKE 'idle in transaction%') f
		ON CONFLICT DO NOTHING"
}

fault_crash()
{
	crash_order=$(next_id orders)
	open_session till-9
	say till-9 "BEGIN; $(insert_order "$crash_order" 455 till-9-0009 58.00)"
	freeze_traffic
	kill_backend "$(session_pid till-9)"
	wait_until_dead
	tell "kill -9 hits the backend of till-9, with order $crash_order;" \
		"$(query "SELECT count(*) - 1 FROM demo.open_at_crash") rows" \
		"of the shop were open"
}

kill_backend()
{
	og_as_user bash -c "kill -KILL $1"
}

# The server restarts by itself.
wait_until_dead()
{
	local crash='terminating any other active server processes'
	until grep -q "$crash" "$PGHOST/server.log"; do
		sleep 0.05
	done
	kill -CONT "$traffic"
	wait "$traffic" 2>/dev/null || true
	traffic=
	close_session till-9
	wait_for "the server comes back" "SELECT true"
}
