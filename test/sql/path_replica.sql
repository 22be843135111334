-- Rows that come as from a replica are seen; a trigger that is disabled or
-- dropped is a gap, and when it is back the table is swept.
SET client_min_messages = warning;
CREATE TABLE pr_orders (id int PRIMARY KEY, status text);
SELECT order_guard.watch('pr_orders', 'status', '{"PAYING": "1 us"}') AS id
\gset
CREATE VIEW pr_incidents AS
SELECT kind, key, state, severity, evidence ->> 'gap' AS gap, resolution
FROM order_guard.incidents WHERE relation = 'pr_orders'::regclass
ORDER BY id;
SELECT count(*) FROM order_guard.scan();
SET session_replication_role = replica;
INSERT INTO pr_orders VALUES (1, 'PAYING');
RESET session_replication_role;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pr_incidents;

-- disabled: said at the next look, once
ALTER TABLE pr_orders DISABLE TRIGGER USER;
INSERT INTO pr_orders VALUES (2, 'PAYING');
UPDATE pr_orders SET status = 'PAID' WHERE id = 1;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pr_incidents;
SELECT coverage FROM order_guard.watches WHERE id = :id;

-- enabled, but not for replicas: still a gap
ALTER TABLE pr_orders ENABLE TRIGGER USER;
SELECT count(*) FROM order_guard.scan();
SELECT evidence ->> 'gap' AS gap FROM order_guard.incidents
WHERE kind = 'coverage' AND relation = 'pr_orders'::regclass;

-- watch() puts it right, and what came through meanwhile is found
SELECT order_guard.watch('pr_orders', NULL) = :id AS same;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT kind, key, state, resolution FROM pr_incidents;

-- dropped
DROP TRIGGER "00_order_guard_change" ON pr_orders;
SELECT count(*) FROM order_guard.scan();
SELECT state, gap FROM pr_incidents WHERE kind = 'coverage';
SELECT order_guard.watch('pr_orders', NULL) = :id AS same;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT state, resolution FROM pr_incidents WHERE kind = 'coverage';
SELECT order_guard.unwatch('pr_orders');

-- what is not watched has no open incidents
SELECT count(*) FROM order_guard.scan();
SELECT DISTINCT state FROM pr_incidents;
DROP TABLE pr_orders CASCADE;
