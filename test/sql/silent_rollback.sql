-- COMMIT in a failed transaction is answered with ROLLBACK, and no error: what
-- is lost by it says so.
SET client_min_messages = warning;
CREATE TABLE sr_orders (id int PRIMARY KEY, status text, total int);
SELECT order_guard.watch('sr_orders', 'status', '{"NEW": "1 h"}') AS id \gset
CREATE VIEW sr_attempts AS
SELECT key, cause, sqlstate, reason FROM order_guard.attempts
WHERE relation = 'sr_orders'::regclass ORDER BY key::int;
\set VERBOSITY terse

BEGIN; INSERT INTO sr_orders VALUES (1, 'NEW');
SELECT 1 / 0;
COMMIT;
-- a client that looks says ROLLBACK
BEGIN; INSERT INTO sr_orders VALUES (2, 'NEW');
SELECT 1 / 0;
ROLLBACK;
-- the next one is another transaction's
BEGIN; SELECT 1 / 0;
COMMIT;
BEGIN; INSERT INTO sr_orders VALUES (3, 'NEW');
SELECT 1 / 0;
COMMIT AND CHAIN;
INSERT INTO sr_orders VALUES (4, 'NEW');
COMMIT;
BEGIN; INSERT INTO sr_orders VALUES (5, 'NEW');
SELECT nosuch;
PREPARE TRANSACTION 'sr';
-- only a savepoint has failed: the rest is lost by the COMMIT itself
BEGIN; INSERT INTO sr_orders VALUES (6, 'NEW');
SAVEPOINT a; INSERT INTO sr_orders VALUES (7, 'NEW');
SAVEPOINT b; INSERT INTO sr_orders VALUES (8, 'NEW'), (6, 'NEW');
COMMIT;
-- one that was got over, and a COMMIT that fails by itself
CREATE TABLE sr_lines (id int REFERENCES sr_orders
	DEFERRABLE INITIALLY DEFERRED);
BEGIN; SAVEPOINT a; SELECT 1 / 0;
ROLLBACK TO a; INSERT INTO sr_orders VALUES (9, 'NEW');
INSERT INTO sr_lines VALUES (0);
COMMIT;
BEGIN; INSERT INTO sr_orders VALUES (10, 'NEW');
SAVEPOINT a; SELECT 1 / 0;
ROLLBACK;
-- a procedure cannot commit what has failed
CREATE PROCEDURE sr_place() LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO sr_orders VALUES (11, 'NEW'); COMMIT;
	INSERT INTO sr_orders VALUES (12, 'NEW');
	PERFORM 1 / (id - id) FROM sr_orders; COMMIT;
END$$;
CALL sr_place();
-- known before the worker has read it
SELECT outcome, sqlstate, reason FROM order_guard.outcome('sr_orders', '1');
SELECT count(*) FROM order_guard.scan();
SELECT * FROM sr_attempts;
SELECT outcome, reason FROM order_guard.outcome('sr_orders', '1');
SELECT id FROM sr_orders ORDER BY id;

-- when the worker reads in between, what it wrote is set right
BEGIN; INSERT INTO sr_orders VALUES (21, 'NEW');
SAVEPOINT a; INSERT INTO sr_orders VALUES (22, 'NEW');
ROLLBACK TO a;
SELECT 1 / 0;
\! psql -XAtq -d contrib_regression -c 'SELECT count(*) FROM order_guard.scan()'
COMMIT;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM sr_attempts WHERE key::int > 20;
UPDATE order_guard.attempt SET judge_at = '2020-01-01'
WHERE judge_at IS NOT NULL AND watch = :id;
SELECT count(*) FROM order_guard.scan();
SELECT key, severity, summary, evidence ->> 'cause' AS cause
FROM order_guard.incidents WHERE relation = 'sr_orders'::regclass
ORDER BY key::int;
SELECT order_guard.unwatch('sr_orders');
DROP TABLE sr_lines, sr_orders CASCADE;
DROP PROCEDURE sr_place();
