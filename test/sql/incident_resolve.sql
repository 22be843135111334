-- resolve(): what may be done about an incident, and what comes of it.
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA og_shop;
CREATE TYPE og_shop.phase AS ENUM ('PAYING', 'PAID', 'CANCELLED');
CREATE TABLE og_shop.orders (id bigint PRIMARY KEY, status og_shop.phase);
INSERT INTO og_shop.orders SELECT n, 'PAYING' FROM generate_series(1, 9) n;
INSERT INTO order_guard.watch (id, relation, key, status, status_columns)
	VALUES (-1, 'og_shop.orders', '{id}', 'status', '{status}');
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		key, hash, status, summary)
	SELECT -n, 'reported', -1, 'og_shop.orders'::regclass, 'og_shop.orders', n,
		gen_random_uuid(), 'PAYING', 'order ' || n
	FROM generate_series(1, 9) n;
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		hash, summary)
	VALUES (-10, 'storm', -1, 'og_shop.orders'::regclass, 'og_shop.orders',
		gen_random_uuid(), 'many');

-- close
SELECT action_id > 0 AS audited, result, detail
	FROM order_guard.resolve(-1, 'close', 'called the customer');
SELECT action_id > 0 AS audited, result, detail
	FROM order_guard.resolve(-1, 'close');
SELECT state, closed_at IS NOT NULL AS closed, resolution = 'closed by ' ||
	session_user AS resolution FROM order_guard.incidents WHERE id = -1;
SELECT action, by = session_user AS by, result, detail, note
	FROM order_guard.actions WHERE incident = -1 ORDER BY id;

-- move
SELECT action_id > 0 AS audited, result, detail FROM
	order_guard.resolve(-2, 'move', args => '{"to": "CANCELLED"}');
SELECT status FROM og_shop.orders WHERE id = 2;
SELECT state, regexp_replace(resolution, ' by .*', '') AS resolution
	FROM order_guard.incidents WHERE id = -2;

-- a dry run changes nothing
SELECT * FROM order_guard.resolve(-3, 'move',
	args => '{"to": "CANCELLED", "dry_run": true}');
SELECT * FROM order_guard.resolve(-3, 'close', args => '{"dry_run": true}');
SELECT status FROM og_shop.orders WHERE id = 3;
SELECT count(*) FROM order_guard.actions WHERE incident = -3;

-- the order moved on: the worker will clear the incident
UPDATE og_shop.orders SET status = 'PAID' WHERE id = 4;
DELETE FROM og_shop.orders WHERE id = 5;
UPDATE og_shop.orders SET status = NULL WHERE id = 6;
SELECT i, r.result, r.detail FROM generate_series(4, 6) i, order_guard.resolve(
	-i, 'move', args => '{"to": "CANCELLED"}') r;
SELECT id, status FROM og_shop.orders WHERE id IN (4, 6) ORDER BY id;
SELECT DISTINCT state FROM order_guard.incidents WHERE id IN (-4, -5, -6);

-- a trigger that keeps the row
CREATE FUNCTION og_shop.keep() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN RETURN NULL; END';
CREATE TRIGGER keep BEFORE UPDATE ON og_shop.orders FOR EACH ROW
	WHEN (old.id = 7) EXECUTE FUNCTION og_shop.keep();
SELECT result, detail FROM order_guard.resolve(-7, 'move',
	args => '{"to": "CANCELLED"}');

-- what does not fit the incident is refused, and audited
SELECT result, detail FROM order_guard.resolve(-10, 'move',
	args => '{"to": "PAID"}');
SELECT result, detail FROM order_guard.resolve(-8, 'terminate');
SELECT result, detail FROM order_guard.resolve(-8, 'cancel_query');
UPDATE order_guard.watch SET status = '(CASE WHEN id > 0 THEN 1 END)'
	WHERE id = -1;
SELECT result, detail FROM order_guard.resolve(-8, 'move',
	args => '{"to": "PAID"}');
UPDATE order_guard.watch SET relation = 'order_guard.watch' WHERE id = -1;
SELECT result, detail FROM order_guard.resolve(-8, 'move',
	args => '{"to": "PAID"}');
UPDATE order_guard.watch SET relation = 'og_shop.orders', status = 'status'
	WHERE id = -1;
SELECT action, result FROM order_guard.actions WHERE incident = -8 ORDER BY id;

-- what cannot be is an error
\set VERBOSITY sqlstate
SELECT * FROM order_guard.resolve(-9, 'move', args => '{"to": "NONE SUCH"}');
SELECT * FROM order_guard.resolve(-11, 'close');
SELECT * FROM order_guard.resolve(NULL, 'close');
\set VERBOSITY default
SELECT * FROM order_guard.resolve(-9, 'explode');
SELECT * FROM order_guard.resolve(-9, 'move');
SELECT * FROM order_guard.resolve(-9, 'move', args => '{"to": 1}');
SELECT * FROM order_guard.resolve(-9, 'move', args => '{"to": {"a": 1}}');
SELECT * FROM order_guard.resolve(-9, 'close', args => '{"to": "PAID"}');
SELECT * FROM order_guard.resolve(-9, 'close', args => '{"dry_run": "yes"}');
SELECT * FROM order_guard.resolve(-9, 'close', args => '[]');
SELECT count(*) FROM order_guard.actions WHERE incident = -9;
ROLLBACK;
