-- An enum's labels are renamed in migrations: the watch says so once, and
-- what is tracked goes by what the rows say.
SET client_min_messages = warning;
CREATE TYPE se_status AS ENUM ('NEW', 'PAYING', 'PAID');
CREATE DOMAIN se_state AS se_status;
CREATE TABLE se_orders (id uuid PRIMARY KEY, status se_state);
CREATE VIEW se_incidents AS
SELECT kind, right(key, 1) AS key, status, state, evidence ->> 'gap' AS gap,
	resolution
FROM order_guard.incidents WHERE relation = 'se_orders'::regclass
ORDER BY id;
SELECT order_guard.watch('se_orders', 'status', '{"PAYING": "1 us"}',
	'{PAID}') > 0 AS watched;
INSERT INTO se_orders VALUES
	('00000000-0000-0000-0000-000000000001', 'PAYING'),
	('00000000-0000-0000-0000-000000000002', 'NEW');
SELECT count(*) FROM order_guard.scan();
SELECT * FROM se_incidents;

ALTER TYPE se_status RENAME VALUE 'PAYING' TO 'PROCESSING';
ALTER TYPE se_status ADD VALUE 'LATER';
UPDATE se_orders SET status = 'PROCESSING'
WHERE id = '00000000-0000-0000-0000-000000000002';
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT * FROM se_incidents;
SELECT coverage, last_error FROM order_guard.watches
WHERE relation = 'se_orders'::regclass;

-- told the new name, it finds them
SELECT order_guard.watch('se_orders', NULL, '{"PROCESSING": "1 us"}') > 0
	AS watched;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT kind, key, status, state, resolution FROM se_incidents
ORDER BY kind, key, state;
SELECT coverage, sweep, last_error FROM order_guard.watches
WHERE relation = 'se_orders'::regclass;
SELECT order_guard.unwatch('se_orders');
DROP TABLE se_orders CASCADE;
DROP DOMAIN se_state;
DROP TYPE se_status;
