-- The records of actions: who, as whom, with what proof; they can only be
-- added to.
\set ON_ERROR_ROLLBACK on
\set SHOW_CONTEXT never
BEGIN;
CREATE ROLE og_owner;
CREATE SCHEMA og_shop AUTHORIZATION og_owner;
CREATE TABLE og_shop.orders (id bigint PRIMARY KEY, status text);
ALTER TABLE og_shop.orders OWNER TO og_owner;
INSERT INTO og_shop.orders SELECT n, 'PAYING' FROM generate_series(1, 3) n;
INSERT INTO order_guard.watch (id, relation, key, status, status_columns)
	VALUES (-1, 'og_shop.orders', '{id}', 'status', '{status}');
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		key, hash, status, summary)
	SELECT -n, 'reported', -1, 'og_shop.orders'::regclass, 'og_shop.orders', n,
		gen_random_uuid(), 'PAYING', 'order ' || n
	FROM generate_series(1, 3) n;

SET ROLE og_owner;
SELECT result FROM order_guard.resolve(-1, 'move', args => '{"to": "PAID"}');
SELECT result FROM order_guard.resolve(-1, 'close');
UPDATE og_shop.orders SET status = 'a "b"' WHERE id = 2;
SELECT result FROM order_guard.resolve(-2, 'move', args => '{"to": "PAID"}');
DELETE FROM og_shop.orders WHERE id = 3;
SELECT result FROM order_guard.resolve(-3, 'move', args => '{"to": "PAID"}');
SELECT result FROM order_guard.resolve(-3, 'close');
RESET ROLE;
SELECT incident, action, result, login = session_user AS login, role,
	jsonb_set(proof, '{found,xmin}', '"xmin"', false) AS proof
	FROM order_guard.actions WHERE incident < 0 ORDER BY id;

-- nobody changes them, not even a superuser
UPDATE order_guard.action SET by = 'nobody' WHERE incident = -1;
DELETE FROM order_guard.action WHERE incident = -1;
TRUNCATE order_guard.action;
SET session_replication_role = replica;
DELETE FROM order_guard.action WHERE incident = -1;
SET session_replication_role = origin;
SET order_guard.action_retention = '1 s';

-- a queued one ends, once, and nothing else of it changes
INSERT INTO order_guard.action (id, incident, action, by, result)
	SELECT -n, -1, 'terminate', 'x', 'queued' FROM generate_series(1, 3) n;
UPDATE order_guard.action SET result = 'done' WHERE id = -1;
UPDATE order_guard.action SET done_at = now() WHERE id = -1;
UPDATE order_guard.action SET result = 'done', done_at = now(), by = 'y'
	WHERE id = -1;
DELETE FROM order_guard.action WHERE id = -1;
UPDATE order_guard.action SET result = 'done', done_at = now(), detail = 'z'
	WHERE id = -1;
UPDATE order_guard.action SET result = 'refused', done_at = now()
	WHERE id = -1;
SELECT result, detail, by FROM order_guard.action WHERE id = -1;
ROLLBACK;
