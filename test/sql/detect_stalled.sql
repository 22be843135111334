-- Stalled: opened, cleared, opened again; closed by a person it stays quiet
-- until the order's status changes; other deadlines hold at once; what was
-- late when the watch began is one incident.
SET client_min_messages = warning;
CREATE TABLE ds_orders (id int PRIMARY KEY, status text, total int);
INSERT INTO ds_orders SELECT i, 'OLD', 2 FROM generate_series(1, 150) i;
SELECT order_guard.watch('ds_orders', 'status',
	'{"PAYING": "1 us", "OLD": "1 us", "SENT": "1 h"}', '{PAID}',
	amount => 'total') AS id \gset
CREATE VIEW ds_incidents AS
SELECT kind, key, status, count, amount, state, resolution
FROM order_guard.incidents WHERE relation = 'ds_orders'::regclass
ORDER BY id;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM ds_incidents;
SELECT count(*) FROM order_guard.stalled
WHERE relation = 'ds_orders'::regclass;
UPDATE ds_orders SET status = 'PAID' WHERE id <= 100;
SELECT count(*) FROM order_guard.scan();
SELECT kind, key, count, state, resolution FROM ds_incidents;
DELETE FROM ds_orders WHERE id = 101;	-- one of the backlog, too
UPDATE ds_orders SET status = 'PAID' WHERE id > 101;
SELECT count(*) FROM order_guard.scan();
SELECT kind, key, state, resolution FROM ds_incidents;
DELETE FROM order_guard.incident WHERE watch = :id;

-- one order
INSERT INTO ds_orders VALUES (1001, 'PAYING', 5);
SELECT count(*) FROM order_guard.scan();
SELECT max(id) AS incident FROM order_guard.incidents
WHERE relation = 'ds_orders'::regclass \gset
SELECT result FROM order_guard.resolve(:incident, 'close', 'called them');
SELECT count(*) FROM order_guard.scan();
UPDATE ds_orders SET total = 6 WHERE id = 1001;
UPDATE order_guard.watch_state SET sweep = 'changed' WHERE watch = :id;
SELECT count(*) FROM order_guard.scan();
SELECT key, status, state FROM ds_incidents;
UPDATE ds_orders SET status = 'SENT' WHERE id = 1001;
SELECT count(*) FROM order_guard.scan();
UPDATE ds_orders SET status = 'PAYING' WHERE id = 1001;
SELECT count(*) FROM order_guard.scan();
SELECT key, status, amount, state FROM ds_incidents;

-- other deadlines: more time, less time, none
SELECT order_guard.watch('ds_orders', NULL,
	'{"PAYING": "1 h", "SENT": "1 h"}') = :id AS same;
SELECT count(*) FROM order_guard.scan();
SELECT state, resolution FROM ds_incidents ORDER BY state;
SELECT order_guard.watch('ds_orders', NULL, '{"PAYING": "1 us"}') = :id
	AS same;
SELECT count(*) FROM order_guard.scan();
SELECT state, count(*) FROM ds_incidents GROUP BY state ORDER BY state;
SELECT order_guard.watch('ds_orders', NULL, '{"SENT": "1 us"}') = :id
	AS same;
SELECT count(*) FROM order_guard.scan();
SELECT state, resolution FROM ds_incidents ORDER BY state, resolution;
SELECT count(*) FROM order_guard.tracked WHERE watch = :id;

-- another key: what was known is known anew under it
INSERT INTO ds_orders VALUES (2002, 'SENT', 7);
SELECT count(*) FROM order_guard.scan();
ALTER TABLE ds_orders ALTER total SET NOT NULL;
DELETE FROM ds_orders WHERE id < 2000;
CREATE UNIQUE INDEX ON ds_orders (total);
SELECT order_guard.watch('ds_orders', NULL, key => '{total}') = :id AS same;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT key, state, resolution FROM ds_incidents WHERE status = 'SENT'
ORDER BY key;

-- not watched, nothing open
SELECT order_guard.unwatch('ds_orders');
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM ds_incidents WHERE state = 'open';
DROP TABLE ds_orders CASCADE;
