# shellcheck shell=bash disable=SC2154,SC2016
#
# resolve.sh: what support and DBA do about it.

# The open incident of a kind that has this order.
incident_of()
{
	query "SELECT min(id) FROM demo.reported
		WHERE (kind, relation, key) = ('$1', 'public.$2', '$3')
			AND state = 'open'"
}

# do_resolve WHY KIND TABLE KEY ACTION NOTE [ARGS]
do_resolve()
{
	local id arguments
	id=$(incident_of "$2" "$3" "$4")
	arguments="$id, '$5', '$6'${7:+, '$7'}"
	printf '  - %s\n      SELECT * FROM order_guard.resolve(%s);\n      %s\n' \
		"$1" "$arguments" "$(psql -XqAt -F ': ' -v ON_ERROR_STOP=1 -c "
			SELECT result, detail FROM order_guard.resolve($arguments)")"
}

resolve_transactions()
{
	expect idle vanished orders "$idle_order"
	do_resolve "till-7 is not coming back: its session is ended" \
		uncommitted orders "$idle_order" terminate "till 7 is switched off"
	do_resolve "so is the refund job's, and both agents go on" \
		uncommitted orders "$blocked_order" terminate "job hangs"
	wait_for "the transactions end" "SELECT count(*) = 0
		FROM order_guard.incidents
		WHERE kind = 'uncommitted' AND state = 'open'"
	wait_for "order $idle_order is reported as vanished" "SELECT EXISTS (
		SELECT FROM demo.reported
		WHERE (kind, key) = ('vanished', '$idle_order'))"
}

resolve_orders()
{
	do_resolve "the payout is sent after all, the stalled one clears" \
		vanished payouts "$lost_payout" move "bank confirms" \
		'{"to": "SENT"}'
	ask_gateway
	tell "the deleted order is put back, finished"
	query "$(insert_order "$deleted_order" 454 web-0008 75.25)"
	query "UPDATE orders SET status = 'PAID' WHERE id = $deleted_order"
	tell "the customers of the orders that never were are called"
	show "SELECT incident, result, detail FROM order_guard.resolve_all('vanished', 'close',
  relation => 'orders', note => 'customer called', dry_run => false);"
}

# As test/demo/asker.py does, but by hand.
ask_gateway()
{
	local id
	id=$(incident_of stalled payments "$silent_payment")
	tell "the payment gateway is asked about what stalled; it says failed"
	show "SELECT incident, key, status, amount, tries
FROM order_guard.claim(10, '1 min', relation => 'payments');"
	show "SELECT result, detail FROM order_guard.answer($id, 'failed', '{\"code\": \"declined\"}');"
}

# What a crash leaves: customers are called, the gateway and the bank asked.
resolve_crash()
{
	show "SELECT result, count(*) FROM order_guard.resolve_all('vanished', 'close',
  note => 'lost in the crash, customers called', dry_run => false) GROUP BY result;"
	move_stalled orders CANCELLED
	move_stalled payments FAILED
	move_stalled payouts SENT
}

move_stalled()
{
	[ "$(query "SELECT EXISTS (SELECT FROM order_guard.incidents
		WHERE state = 'open' AND relation = '$1'::regclass)")" = t ] ||
		return 0
	show "SELECT incident, result, detail FROM order_guard.resolve_all('stalled', 'move',
  relation => '$1', args => '{\"to\": \"$2\"}', dry_run => false);"
}
