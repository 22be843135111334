-- Rows past the limit are counted for the watch, whichever way they come.
SET client_min_messages = warning;
CREATE TABLE ct_orders (id integer PRIMARY KEY, status text)
	PARTITION BY HASH (id);
DO $$
BEGIN
	FOR i IN 0..11 LOOP
		EXECUTE format('CREATE TABLE ct_%s PARTITION OF ct_orders'
			' FOR VALUES WITH (MODULUS 12, REMAINDER %1$s)', i);
	END LOOP;
END
$$;
CREATE VIEW ct_counted AS
SELECT w.relation_name AS watch, sum(a.rows) AS rows,
	count(*) AS attempts
FROM order_guard.watches w JOIN order_guard.attempt a ON a.watch = w.id
WHERE a.key IS NULL GROUP BY 1;
SELECT order_guard.watch('ct_orders', 'status', '{"PAYING": "1 h"}',
	options => '{"vanished": "off", "refused": false}') > 0 AS watched;
SELECT count(*) FROM order_guard.scan();
SELECT dropped FROM order_guard.stat_worker \gset

-- routed, by a backend that has not called the functions before
\c
BEGIN;
INSERT INTO ct_orders SELECT i, 'PAID' FROM generate_series(1, 3000) i;
ROLLBACK;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM ct_counted;
-- in many partitions
INSERT INTO ct_orders SELECT i, 'PAID' FROM generate_series(1, 3000) i;
SELECT count(*) FROM order_guard.scan();
DELETE FROM order_guard.attempt;
BEGIN;
UPDATE ct_orders SET status = 'PAYING';
ROLLBACK;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM ct_counted;
DELETE FROM order_guard.attempt;
-- by COPY
BEGIN;
COPY public.ct_orders FROM PROGRAM
	'seq 10001 13000 | sed "s/$/\tPAID/"';
ROLLBACK;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM ct_counted;
DELETE FROM order_guard.attempt;
-- through a function, and in a WITH
CREATE FUNCTION ct_load() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	WITH gone AS (DELETE FROM ct_orders RETURNING id)
	INSERT INTO ct_orders SELECT id + 20000, 'PAID' FROM gone;
END
$$;
BEGIN;
SELECT ct_load();
ROLLBACK;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM ct_counted;
DELETE FROM order_guard.attempt;
SELECT order_guard.unwatch('ct_orders');

-- only one partition is watched, the rows come through the table above it
CREATE TABLE ct_top (id integer PRIMARY KEY, status text)
	PARTITION BY RANGE (id);
CREATE TABLE ct_low PARTITION OF ct_top FOR VALUES FROM (0) TO (100000);
SELECT order_guard.watch('ct_low', 'status', '{"PAYING": "1 h"}',
	options => '{"vanished": "off", "refused": false}') > 0 AS watched;
SELECT count(*) FROM order_guard.scan();
\c
BEGIN;
INSERT INTO ct_top SELECT i, 'PAID' FROM generate_series(1, 3000) i;
ROLLBACK;
BEGIN;
COPY ct_top FROM PROGRAM 'seq 1 3000 | sed "s/$/\tPAID/"';
ROLLBACK;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM ct_counted;
SELECT dropped - :dropped AS dropped FROM order_guard.stat_worker;
DELETE FROM order_guard.attempt;
SELECT order_guard.unwatch_all();
DROP VIEW ct_counted;
DROP FUNCTION ct_load;
DROP TABLE ct_top, ct_orders;
