-- ON CONFLICT and MERGE: a row that was proposed and not inserted is no
-- order, neither a lost one.
SET client_min_messages = warning;
CREATE TABLE po_orders (id int PRIMARY KEY, status text, n int DEFAULT 0);
SELECT order_guard.watch('po_orders', 'status', '{"PAYING": "1 us"}') AS id
\gset
CREATE VIEW po_incidents AS
SELECT kind, key, status, state, resolution FROM order_guard.incidents
WHERE relation = 'po_orders'::regclass ORDER BY key, id;
SELECT count(*) FROM order_guard.scan();
INSERT INTO po_orders VALUES (1, 'PAID'), (2, 'PAID'), (3, 'PAYING');
INSERT INTO po_orders VALUES (1, 'PAYING') ON CONFLICT DO NOTHING;
INSERT INTO po_orders VALUES (2, 'PAYING')
ON CONFLICT (id) DO UPDATE SET status = 'SETTLED';
INSERT INTO po_orders VALUES (3, 'PAYING')
ON CONFLICT (id) DO UPDATE SET status = excluded.status, n = 1;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM po_incidents;
SELECT count(*) AS attempts FROM order_guard.attempt WHERE watch = :id;

-- the transaction is given up afterwards: still nothing that was not there
BEGIN;
INSERT INTO po_orders VALUES (1, 'PAYING') ON CONFLICT DO NOTHING;
INSERT INTO po_orders VALUES (2, 'PAYING')
ON CONFLICT (id) DO UPDATE SET n = 2 WHERE po_orders.n > 5;
SELECT count(*) FROM po_orders;
ROLLBACK;
SELECT count(*) FROM order_guard.scan();
SELECT key, operation, outcome FROM order_guard.attempt WHERE watch = :id;

-- MERGE
MERGE INTO po_orders o USING (VALUES (1, 'PAYING'), (3, 'PAID'),
	(4, 'PAYING'), (2, 'GONE')) AS s (id, status) ON o.id = s.id
WHEN MATCHED AND s.status = 'GONE' THEN DELETE
WHEN MATCHED THEN UPDATE SET status = s.status
WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.status);
SELECT count(*) FROM order_guard.scan();
SELECT * FROM po_incidents;
BEGIN;
MERGE INTO po_orders o USING (VALUES (1, 'PAID'), (5, 'PAYING'))
	AS s (id, status) ON o.id = s.id
WHEN MATCHED THEN UPDATE SET status = s.status
WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.status);
ROLLBACK;
SELECT count(*) FROM order_guard.scan();
SELECT key, operation, old_status, new_status, outcome
FROM order_guard.attempt WHERE watch = :id ORDER BY key;
SELECT order_guard.unwatch('po_orders');
DROP TABLE po_orders CASCADE;
