SELECT order_guard.watch('orders', 'status',
	deadlines => '{"SUBMITTED": "4 s"}', terminal => '{COMPLETED,CANCELLED,REFUNDED}',
	token => 'client_ref', amount => 'amount', customer => 'customer_id');
SELECT order_guard.watch('payments', 'status',
	deadlines => '{"PAYING": "4 s"}', terminal => '{PAID,FAILED}', amount => 'amount',
	options => '{"verdicts": {"succeeded": "PAID", "failed": "FAILED"}}');
SELECT order_guard.watch('payouts', 'status',
	deadlines => '{"REQUESTED": "4 s"}', terminal => '{SENT}', amount => 'amount');
