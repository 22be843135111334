-- TRUNCATE, renames, columns and tables that go: one clear report each, and
-- no error again and again.
SET client_min_messages = warning;
CREATE SCHEMA pd;
CREATE TABLE pd.orders (id int PRIMARY KEY, status text, total int);
SELECT order_guard.watch('pd.orders', 'status', '{"PAYING": "1 us"}',
	amount => 'total') AS id \gset
CREATE VIEW pd.incidents AS
SELECT kind, relation_name, key, state, evidence ->> 'gap' AS gap, resolution
FROM order_guard.incident WHERE relation_name LIKE 'pd.%' ORDER BY id;
SELECT count(*) FROM order_guard.scan();

INSERT INTO pd.orders VALUES (1, 'PAYING'), (2, 'PAID'), (3, 'PAYING');
SELECT count(*) FROM order_guard.scan();
TRUNCATE pd.orders;
SELECT count(*) FROM order_guard.scan();
SELECT kind, key, state, resolution FROM pd.incidents
ORDER BY kind, key;
INSERT INTO pd.orders VALUES (1, 'PAID'), (3, 'PAYING');
SELECT count(*) FROM order_guard.scan();
SELECT kind, key, state, resolution FROM pd.incidents
ORDER BY kind, key, state;
DELETE FROM order_guard.incident WHERE watch = :id;

-- renamed: table and columns are followed
ALTER TABLE pd.orders RENAME TO payments;
ALTER TABLE pd.payments RENAME id TO payment_id;
ALTER TABLE pd.payments RENAME status TO state;
ALTER TABLE pd.payments ALTER payment_id TYPE bigint;
INSERT INTO pd.payments VALUES (4, 'PAYING');
UPDATE pd.payments SET state = 'PAID' WHERE payment_id = 3;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT kind, key, state FROM pd.incidents WHERE relation_name = 'pd.payments'
ORDER BY key;
SELECT relation_name, key, status, coverage, last_error
FROM order_guard.watches WHERE id = :id;

-- a column that is needed is dropped
ALTER TABLE pd.payments DROP COLUMN payment_id;
UPDATE pd.payments SET state = 'PAID';
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT kind, state, gap FROM pd.incidents WHERE kind = 'coverage';
SELECT errors FROM order_guard.stat_worker;

-- a table is dropped: the report is the only open incident
CREATE TABLE pd.refunds (id int PRIMARY KEY, status text);
SELECT order_guard.watch('pd.refunds', 'status', '{"PAYING": "1 us"}') AS id
\gset
SELECT count(*) FROM order_guard.scan();
INSERT INTO pd.refunds VALUES (1, 'PAYING');
SELECT count(*) FROM order_guard.scan();
BEGIN;
INSERT INTO pd.refunds VALUES (2, 'PAYING');
ROLLBACK;
DROP TABLE pd.refunds;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT kind, state, regexp_replace(summary, '\d{4,}', 'OID') AS summary
FROM order_guard.incident WHERE watch = :id ORDER BY id;
SELECT count(*) FROM order_guard.tracked WHERE watch = :id;
SELECT order_guard.unwatch_all() > 0 AS unwatched;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.incident
WHERE watch = :id AND state = 'open';
DROP SCHEMA pd CASCADE;
