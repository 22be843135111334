-- resolve_all(): many incidents, each on its own.
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE ROLE og_owner;
CREATE SCHEMA og_shop AUTHORIZATION og_owner;
CREATE TABLE og_shop.orders (id bigint PRIMARY KEY,
	status text CHECK (status <> 'CANCELLED' OR id <> 3));
CREATE TABLE og_shop.other (id bigint PRIMARY KEY, status text);
ALTER TABLE og_shop.orders OWNER TO og_owner;
INSERT INTO og_shop.orders
	SELECT n, CASE n WHEN 2 THEN 'PAID' ELSE 'PAYING' END
	FROM generate_series(1, 5) n;
INSERT INTO order_guard.watch (id, relation, key, status, status_columns)
	VALUES (-1, 'og_shop.orders', '{id}', 'status', '{status}');
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		key, hash, status, summary)
	SELECT n - 10, 'og_test', -1, CASE n WHEN 5 THEN
		'og_shop.other'::regclass ELSE 'og_shop.orders'::regclass END,
		'og_shop.orders', n, gen_random_uuid(), 'PAYING', 'order ' || n
	FROM generate_series(1, 5) n;

-- by default it only tells
SELECT * FROM order_guard.resolve_all('og_test', 'move',
	args => '{"to": "CANCELLED"}');
SELECT * FROM order_guard.resolve_all('og_test', 'move', 'og_shop.orders',
	args => '{"to": "CANCELLED"}');
SELECT * FROM order_guard.resolve_all('og_test', 'close', 'og_shop.other');
SELECT count(*) FROM order_guard.actions WHERE incident < 0;

-- others' incidents are left out; one that fails does not stop the others
SET ROLE og_owner;
SELECT incident, action_id > 0 AS audited, result, detail
	FROM order_guard.resolve_all('og_test', 'move', 'og_shop.orders',
		args => '{"to": "CANCELLED"}', max => 3, dry_run => false);
SELECT incident, result, detail
	FROM order_guard.resolve_all('og_test', 'move', 'og_shop.orders',
		args => '{"to": "CANCELLED"}', dry_run => false);
SELECT * FROM og_shop.orders ORDER BY id;
SELECT incident, result FROM order_guard.actions WHERE incident < 0
	ORDER BY id;
RESET ROLE;
SELECT id, state FROM order_guard.incidents WHERE id < 0 ORDER BY id;

SELECT * FROM order_guard.resolve_all('og_test', 'explode');
SELECT * FROM order_guard.resolve_all('og_test', 'close', max => 0);
SELECT * FROM order_guard.resolve_all('og_test', 'close', max => NULL);
SELECT * FROM order_guard.resolve_all('deleted', 'close');
SELECT * FROM order_guard.resolve_all('uncommited', 'close');
SELECT * FROM order_guard.resolve_all('nothing', 'move');
SELECT * FROM order_guard.resolve_all('nothing', 'close');
ROLLBACK;
