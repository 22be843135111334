-- A status is what its bytes say, whatever its column's collation.
CREATE SCHEMA status_collation;
SET search_path = status_collation;
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2',
	deterministic = false);
CREATE TABLE orders (id integer PRIMARY KEY, status text COLLATE ci);
INSERT INTO orders VALUES (1, 'paying'), (2, 'PAYING');
SELECT order_guard.watch('orders', 'status', '{"PAYING": "1 hour"}') > 0 AS ok;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
UPDATE orders SET status = 'NEW' WHERE id = 1;
SELECT count(*) FROM order_guard.scan();
SELECT t.key, t.status FROM order_guard.tracked t
JOIN order_guard.watch w ON w.id = t.watch
WHERE w.relation = 'orders'::regclass;
SELECT order_guard.unwatch('orders');
SET client_min_messages = warning;
DROP SCHEMA status_collation CASCADE;
