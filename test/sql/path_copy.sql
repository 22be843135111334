-- 200,000 rows in one COPY: the journal takes note of the first ones and
-- counts the rest, a sweep finds those that wait for something.
SET client_min_messages = warning;
CREATE TABLE pc_orders (
	id		int PRIMARY KEY,
	status	text,
	since	timestamptz
);
SELECT order_guard.watch('pc_orders', 'status', '{"PAYING": "1 h"}',
	since => 'since') AS id \gset
SELECT count(*) FROM order_guard.scan();
SELECT drained, dropped FROM order_guard.stat_worker \gset before_
BEGIN;
COPY pc_orders FROM PROGRAM
'awk ''BEGIN { for (i = 1; i <= 200000; i++) printf "%d\t%s\t2020-01-01\n", i, i % 20000 ? "PAID" : "PAYING" }''';
-- much of it is given up again
SAVEPOINT s;
UPDATE pc_orders SET status = 'PAYING';
ROLLBACK TO s;
COMMIT;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT drained - :before_drained < 5000 AS bounded,
	dropped - :before_dropped AS dropped FROM order_guard.stat_worker;
SELECT kind, state, key FROM order_guard.incidents
WHERE relation = 'pc_orders'::regclass ORDER BY key::int;
SELECT sweep, last_sweep IS NOT NULL AS swept, last_error
FROM order_guard.watches WHERE id = :id;

-- a purge of what is finished
DELETE FROM pc_orders WHERE status = 'PAID';
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT kind, state, count(*) FROM order_guard.incidents
WHERE relation = 'pc_orders'::regclass GROUP BY 1, 2;

-- a load that fails is one attempt with its number of rows
COPY pc_orders (id, status) FROM PROGRAM
'awk ''BEGIN { for (i = 300001; i <= 305000; i++) printf "%d\tPAID\n", i; print "x\ty" }''';
SELECT count(*) FROM order_guard.scan();
SELECT key IS NULL AS bulk, sum(rows) BETWEEN 3999 AND 5000 AS plausible
FROM order_guard.attempt WHERE watch = :id AND key IS NULL GROUP BY 1;
SELECT order_guard.unwatch('pc_orders');
DROP TABLE pc_orders;
