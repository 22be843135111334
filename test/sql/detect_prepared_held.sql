-- A prepared transaction that holds orders for too long is an incident, until
-- somebody finishes it.
SET client_min_messages = warning;
CREATE TABLE ph_orders (id int PRIMARY KEY, status text, total int);
SELECT order_guard.watch('ph_orders', 'status', '{"PAYING": "1 h"}',
	amount => 'total') AS id \gset
CREATE VIEW ph_incidents AS
SELECT id, key, status, severity, amount, count, state, resolution,
	regexp_replace(summary, 'for [0-9]+ s', 'for N s') AS summary
FROM order_guard.incidents
WHERE relation = 'ph_orders'::regclass AND kind = 'prepared';
INSERT INTO ph_orders VALUES (1, 'PAYING', 10), (2, 'PAYING', 20);
SET application_name = 'till';

-- the patience is the session's
BEGIN;
UPDATE ph_orders SET status = 'PAID' WHERE id = 1;
PREPARE TRANSACTION 'ph patient';
SET order_guard.prepared_threshold = '1ms';
BEGIN;
UPDATE ph_orders SET status = 'PAID' WHERE id = 2;
PREPARE TRANSACTION 'ph one';
BEGIN;
INSERT INTO ph_orders VALUES (10, 'PAYING', 30), (11, 'PAYING', 40);
UPDATE ph_orders SET total = 41, status = 'PAID' WHERE id = 11;
PREPARE TRANSACTION 'ph it''s two';
RESET order_guard.prepared_threshold;
-- what comes next in this session is another transaction's
INSERT INTO ph_orders VALUES (20, 'PAYING', 1);
BEGIN; INSERT INTO ph_orders VALUES (21, 'PAYING', 1); ROLLBACK;
SELECT count(*) FROM order_guard.scan();
SELECT key, outcome, gid FROM order_guard.attempts
WHERE relation = 'ph_orders'::regclass ORDER BY key::int;
SELECT key, status, severity, amount, count, state, summary
FROM ph_incidents ORDER BY id;
SELECT evidence ->> 'gid' AS gid, evidence ->> 'owner' = current_user AS owner,
	evidence -> 'orders' #- '{0,pid}' #- '{1,pid}' AS orders,
	evidence ->> 'survived_restart' AS survived,
	replace(evidence ->> 'hint', quote_ident(current_user), 'ME') AS hint
FROM order_guard.incidents
WHERE relation = 'ph_orders'::regclass AND kind = 'prepared' ORDER BY id;
SELECT outcome, gid, final, message FROM order_guard.outcome('ph_orders', '10');
-- told once
SELECT opened FROM order_guard.scan();

-- finished; the name is used again by another one
COMMIT PREPARED 'ph one';
ROLLBACK PREPARED 'ph it''s two';
BEGIN;
UPDATE ph_orders SET status = 'LOST' WHERE id = 2;
SET LOCAL order_guard.prepared_threshold = '1ms';
PREPARE TRANSACTION 'ph one';
SELECT count(*) FROM order_guard.scan();
SELECT key, status, state, resolution FROM ph_incidents ORDER BY id;
SELECT key, outcome, gid FROM order_guard.attempts
WHERE relation = 'ph_orders'::regclass ORDER BY key::int;
SELECT outcome, status, gid, final
FROM order_guard.outcome('ph_orders', '2');
ROLLBACK PREPARED 'ph one';
ROLLBACK PREPARED 'ph patient';
SELECT cleared FROM order_guard.scan();
SELECT key, status, state, resolution FROM ph_incidents ORDER BY id;

-- more than are listed
SET order_guard.prepared_threshold = '1ms';
BEGIN;
INSERT INTO ph_orders SELECT i, 'PAYING', 1 FROM generate_series(1000, 2999) i;
PREPARE TRANSACTION 'ph many';
SELECT count(*) FROM order_guard.scan();
SELECT key, count, amount, summary FROM ph_incidents WHERE state = 'open';
ROLLBACK PREPARED 'ph many';
SELECT order_guard.unwatch('ph_orders');
DROP TABLE ph_orders CASCADE;
RESET application_name;
