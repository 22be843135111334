-- COMMIT PREPARED and ROLLBACK PREPARED call nobody back: what became of the
-- orders is found out all the same.
SET client_min_messages = warning;
CREATE TABLE dp_orders (id int PRIMARY KEY, status text, total int);
SELECT order_guard.watch('dp_orders', 'status', '{"PAYING": "1 us"}',
	amount => 'total') AS id \gset
CREATE VIEW dp_incidents AS
SELECT kind, key, severity, amount, state, resolution
FROM order_guard.incidents WHERE relation = 'dp_orders'::regclass
ORDER BY key, id;
INSERT INTO dp_orders VALUES (1, 'PAYING', 1), (2, 'PAYING', 1),
	(3, 'PAYING', 1);
SELECT count(*) FROM order_guard.scan();
DELETE FROM order_guard.incident WHERE watch = :id;
BEGIN;
UPDATE dp_orders SET status = 'PAID' WHERE id = 1;
INSERT INTO dp_orders VALUES (10, 'PAYING', 10), (11, 'PAID', 10);
DELETE FROM dp_orders WHERE id = 3;
PREPARE TRANSACTION 'dp one';
BEGIN;
UPDATE dp_orders SET status = 'PAID' WHERE id = 2;
INSERT INTO dp_orders VALUES (20, 'PAYING', 20);
PREPARE TRANSACTION 'dp two';
BEGIN;
INSERT INTO dp_orders SELECT i, 'PAYING', 0 FROM generate_series(1000, 2999) i;
PREPARE TRANSACTION 'dp many';
SELECT count(*) FROM order_guard.scan();
SELECT key, operation, outcome, gid FROM order_guard.attempt
WHERE watch = :id AND gid LIKE 'dp ___' ORDER BY key::int;
SELECT * FROM dp_incidents;

COMMIT PREPARED 'dp one';
ROLLBACK PREPARED 'dp two';
SELECT count(*) FROM order_guard.scan();
UPDATE order_guard.attempt SET judge_at = '2020-01-01'
WHERE judge_at IS NOT NULL;
SELECT count(*) FROM order_guard.scan();
SELECT key, operation, outcome, reason FROM order_guard.attempt
WHERE watch = :id AND gid LIKE 'dp ___' ORDER BY key::int;
SELECT * FROM dp_incidents;
SELECT key FROM order_guard.tracked WHERE watch = :id ORDER BY key::int;

-- past the limit of rows that are noted one by one
COMMIT PREPARED 'dp many';
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.tracked WHERE watch = :id;
SELECT kind, count(*) FROM dp_incidents GROUP BY kind ORDER BY kind;
SELECT count(*) FROM order_guard.attempt
WHERE watch = :id AND outcome = 'prepared';
SELECT order_guard.unwatch('dp_orders');
DROP TABLE dp_orders CASCADE;
