-- Many orders at once are one storm, each of one kind and watch; it counts
-- them, ebbs, and leaves the next single one alone.
SET client_min_messages = warning;
CREATE TABLE dt_orders (id int PRIMARY KEY, status text, total int);
SELECT order_guard.watch('dt_orders', 'status', '{"PAYING": "1 us"}',
	amount => 'total') AS id \gset
CREATE VIEW dt_incidents AS
SELECT kind, key, count, amount, state, summary LIKE '%stopped moving%' AS stalled
FROM order_guard.incidents WHERE relation = 'dt_orders'::regclass
ORDER BY id;
SELECT count(*) FROM order_guard.scan();
INSERT INTO dt_orders SELECT i, 'PAYING', 3 FROM generate_series(1, 250) i;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM dt_incidents;
SELECT count(*) FROM order_guard.stalled
WHERE relation = 'dt_orders'::regclass;

-- the worker is another: neither more incidents nor more of a count
SELECT pg_terminate_backend(pid) FROM order_guard.stat_worker;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT * FROM dt_incidents;
TRUNCATE dt_orders;
SELECT count(*) FROM order_guard.scan();
SELECT kind, count, amount, stalled FROM dt_incidents ORDER BY stalled;
SELECT order_guard.unwatch('dt_orders');
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM dt_incidents WHERE state = 'open';
DROP TABLE dt_orders CASCADE;
