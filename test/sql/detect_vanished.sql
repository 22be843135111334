-- Vanished: an attempt that failed and whose place nothing took.  What takes
-- it: its token, its key, a later insert of its session.
SET client_min_messages = warning;
CREATE TABLE dv_orders (
	id		int PRIMARY KEY,
	status	text CHECK (status <> 'BAD'),
	token	text UNIQUE,
	total	int
);
SELECT order_guard.watch('dv_orders', 'status', '{"PAYING": "1 h"}',
	token => 'token', amount => 'total') AS id \gset
CREATE VIEW dv_incidents AS
SELECT kind, key, status, severity, count, amount, state, resolution
FROM order_guard.incidents WHERE relation = 'dv_orders'::regclass
ORDER BY key, id;
CREATE PROCEDURE dv_judge() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM order_guard.scan();
	COMMIT;
	UPDATE order_guard.attempt SET judge_at = '2020-01-01'
	WHERE judge_at IS NOT NULL;
	COMMIT;
	PERFORM order_guard.scan();
END
$$;
INSERT INTO dv_orders VALUES (1, 'PAYING', 'one', 1), (2, 'PAYING', 'two', 1);
CALL dv_judge();

-- the session's later insert is its retry; an earlier one is not
BEGIN;
INSERT INTO dv_orders VALUES (10, 'PAYING', 'ten', 10);
ROLLBACK;
INSERT INTO dv_orders VALUES (11, 'PAYING', 'eleven', 10);
BEGIN;
INSERT INTO dv_orders VALUES (12, 'PAYING', 'twelve', 10);
ROLLBACK;
\c -
SET client_min_messages = warning;
-- the client gave it up: a note
BEGIN;
INSERT INTO dv_orders VALUES (20, 'PAYING', 'twenty', 20);
ROLLBACK;
\c -
SET client_min_messages = warning;
-- an error lost it: a warning
INSERT INTO dv_orders VALUES (30, 'BAD', 'thirty', 30);
\c -
SET client_min_messages = warning;
-- comes back with its token, with its key
INSERT INTO dv_orders VALUES (40, 'BAD', 'forty', 40);
INSERT INTO dv_orders VALUES (41, 'BAD', 'forty one', 41);
\c -
SET client_min_messages = warning;
INSERT INTO dv_orders VALUES (42, 'PAYING', 'forty', 40);
INSERT INTO dv_orders VALUES (41, 'PAYING', NULL, 40);
\c -
SET client_min_messages = warning;
-- changes: lost, made later by another, without a change of status
BEGIN;
UPDATE dv_orders SET status = 'PAID' WHERE id = 1;
UPDATE dv_orders SET status = 'PAID' WHERE id = 2;
UPDATE dv_orders SET token = token, status = 'PAYING' WHERE id = 11;
SELECT 1 / 0;
ROLLBACK;
\c -
SET client_min_messages = warning;
UPDATE dv_orders SET status = 'PAID' WHERE id = 2;
\c -
SET client_min_messages = warning;
-- a deletion that was lost, an insertion and a deletion
BEGIN;
DELETE FROM dv_orders WHERE id = 11;
INSERT INTO dv_orders VALUES (50, 'PAYING', 'fifty', 50);
DELETE FROM dv_orders WHERE id = 50;
ROLLBACK;
\c -
SET client_min_messages = warning;
SET client_min_messages = warning;
CALL dv_judge();
SELECT * FROM dv_incidents;
SELECT key, operation, verdict FROM order_guard.attempt WHERE watch = :id
ORDER BY key;

-- it appears after all, the change is made after all
INSERT INTO dv_orders VALUES (30, 'PAYING', 'thirty', 30);
UPDATE dv_orders SET status = 'PAID' WHERE id = 1;
SELECT count(*) FROM order_guard.scan();
SELECT key, state, resolution FROM dv_incidents WHERE key IN ('1', '30');
DELETE FROM order_guard.incident WHERE watch = :id;

-- without a key: one incident for each reason, which counts
\c -
SET client_min_messages = warning;
INSERT INTO dv_orders SELECT 1 / (i - 1), 'NEW' FROM generate_series(1, 1) i;
INSERT INTO dv_orders SELECT 1 / (i - 1), 'NEW' FROM generate_series(1, 1) i;
INSERT INTO dv_orders SELECT 'x'::text::int, 'NEW';
\c -
SET client_min_messages = warning;
CALL dv_judge();
SELECT * FROM dv_incidents;
INSERT INTO dv_orders SELECT 1 / (i - 1), 'NEW' FROM generate_series(1, 1) i;
\c -
SET client_min_messages = warning;
CALL dv_judge();
SELECT kind, count, state FROM dv_incidents ORDER BY count;
DELETE FROM order_guard.incident WHERE watch = :id;

-- options: group, off
SELECT order_guard.watch('dv_orders', NULL,
	options => '{"vanished": "group"}') = :id AS same;
SELECT count(*) FROM order_guard.scan();
INSERT INTO dv_orders VALUES (60, 'BAD', 'a', 5), (61, 'BAD', 'b', 5);
INSERT INTO dv_orders VALUES (62, 'BAD', 'c', 7);
\c -
SET client_min_messages = warning;
CALL dv_judge();
SELECT * FROM dv_incidents;
INSERT INTO dv_orders VALUES (63, 'BAD', 'd', 8);
\c -
SET client_min_messages = warning;
CALL dv_judge();
SELECT * FROM dv_incidents;
SELECT order_guard.watch('dv_orders', NULL,
	options => '{"vanished": "off"}') = :id AS same;
SELECT count(*) FROM order_guard.scan();
INSERT INTO dv_orders VALUES (64, 'BAD', 'e', 9);
\c -
SET client_min_messages = warning;
CALL dv_judge();
SELECT count, amount FROM dv_incidents;
SELECT key, outcome, verdict FROM order_guard.attempt
WHERE watch = :id AND key = '64';
SELECT order_guard.unwatch('dv_orders');
DROP TABLE dv_orders CASCADE;
DROP PROCEDURE dv_judge;
