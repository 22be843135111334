-- Totals are sums of columns, fields of a JSON value, NULL until later, or
-- garbage in one row; that never keeps an order from being judged.
SET client_min_messages = warning;
CREATE TABLE st_orders (
	id			bigint PRIMARY KEY,
	status		text,
	net			double precision,
	tax			double precision,
	data		json
);
CREATE VIEW st_incidents AS
SELECT kind, key, state, amount, customer FROM order_guard.incidents
WHERE relation = 'st_orders'::regclass ORDER BY key, id;
SELECT order_guard.watch('st_orders', 'status', '{"PAYING": "1 us"}',
	amount => '(net + tax)', customer => 'data') > 0 AS watched;
INSERT INTO st_orders VALUES (1, 'PAYING', 0.1, 0.2, '{"total": "7.50"}'),
	(2, 'PAYING', 5, NULL, '{"total": null}'),
	(3, 'PAYING', 'NaN', 1, '{"total": "seven"}'),
	(4, 'PAYING', 1e300, 1, NULL);
SELECT count(*) FROM order_guard.scan();
SELECT key, state, left(amount::text, 10) AS amount, customer
FROM st_incidents;

-- the amount is a field of the JSON value, which is garbage in one row
SELECT order_guard.watch('st_orders', NULL,
	amount => '((data ->> ''total'')::numeric)', customer => '') > 0
	AS watched;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM st_incidents;
SELECT last_error FROM order_guard.watches
WHERE relation = 'st_orders'::regclass;
INSERT INTO st_orders VALUES (5, 'PAYING', 1, 1, '{"total": "five"}');
SELECT count(*) FROM order_guard.scan();
SELECT key, state, amount FROM st_incidents WHERE key = '5';
-- json has no equality: a change of nothing else is no change of the order
UPDATE st_orders SET data = '{"total": 3}' WHERE id = 3;
UPDATE st_orders SET status = 'PAID' WHERE id <> 3;
SELECT count(*) FROM order_guard.scan();
SELECT key, state FROM st_incidents;
SELECT order_guard.unwatch('st_orders');
DROP TABLE st_orders CASCADE;
