-- A row changes many times in one transaction, and its link to the order is
-- filled in last: what committed is judged, never an image between.
SET client_min_messages = warning;
CREATE TABLE sr_payments (
	id			bigint PRIMARY KEY,
	order_id	bigint,
	status		text NOT NULL
);
SELECT order_guard.watch('sr_payments', 'status', '{"PAYING": "1 us"}',
	customer => 'order_id') > 0 AS watched;
CREATE VIEW sr_incidents AS
SELECT kind, key, status, state, customer, resolution
FROM order_guard.incidents WHERE relation = 'sr_payments'::regclass
ORDER BY id;

-- in and out of the status, and the row removed again: nothing to see
BEGIN;
INSERT INTO sr_payments VALUES (1, NULL, 'PAYING');
UPDATE sr_payments SET status = 'PAID' WHERE id = 1;
INSERT INTO sr_payments VALUES (2, NULL, 'PAYING');
DELETE FROM sr_payments WHERE id = 2;
INSERT INTO sr_payments VALUES (3, NULL, 'NEW');
UPDATE sr_payments SET status = 'PAYING' WHERE id = 3;
SAVEPOINT s;
UPDATE sr_payments SET status = 'PAID' WHERE id = 3;
ROLLBACK TO s;
UPDATE sr_payments SET order_id = 33 WHERE id = 3;
COMMIT;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM sr_incidents;

-- away and back in one transaction is no movement
BEGIN;
UPDATE sr_payments SET status = 'PAID' WHERE id = 3;
UPDATE sr_payments SET status = 'PAYING' WHERE id = 3;
COMMIT;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM sr_incidents;

-- removed and inserted again: neither is that
BEGIN;
DELETE FROM sr_payments WHERE id = 3;
INSERT INTO sr_payments VALUES (3, 34, 'PAYING');
COMMIT;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM sr_incidents;

-- the same in two transactions is movement: another incident
UPDATE sr_payments SET status = 'PAID' WHERE id = 3;
SELECT count(*) FROM order_guard.scan();
UPDATE sr_payments SET status = 'PAYING' WHERE id = 3;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM sr_incidents;

-- under another key it is another order
UPDATE sr_payments SET id = 4 WHERE id = 3;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM sr_incidents;
SELECT order_guard.unwatch('sr_payments');
DROP TABLE sr_payments CASCADE;
