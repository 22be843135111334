-- Who may act on an incident, and with whose rights.
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE ROLE og_owner;
CREATE ROLE og_member IN ROLE og_owner;
CREATE ROLE og_reader;
CREATE ROLE og_agent;
CREATE ROLE og_stranger;
GRANT og_reader, og_stranger TO og_member;
CREATE SCHEMA og_shop AUTHORIZATION og_owner;
GRANT USAGE ON SCHEMA og_shop TO PUBLIC;
SET ROLE og_owner;
CREATE TABLE og_shop.orders (id bigint PRIMARY KEY, status text);
CREATE TABLE og_shop.audit (who text);
CREATE FUNCTION og_shop.audit() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN INSERT INTO audit VALUES (current_user); RETURN new; END';
CREATE TRIGGER audit BEFORE UPDATE ON og_shop.orders FOR EACH ROW
	EXECUTE FUNCTION og_shop.audit();
INSERT INTO og_shop.orders SELECT n, 'PAYING' FROM generate_series(1, 9) n;
GRANT SELECT ON og_shop.orders TO og_reader, og_agent;
GRANT UPDATE (id) ON og_shop.orders TO og_reader;
GRANT UPDATE (status) ON og_shop.orders TO og_agent;
RESET ROLE;
INSERT INTO order_guard.watch (id, relation, key, status, status_columns)
	VALUES (-1, 'og_shop.orders', '{id}', 'status', '{status}');
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		key, hash, status, summary)
	SELECT -n, 'reported', -1, CASE WHEN n < 9 THEN
		'og_shop.orders'::regclass ELSE 0 END, 'og_shop.orders', n,
		gen_random_uuid(), 'PAYING', 'order ' || n
	FROM generate_series(1, 9) n;

-- seeing is not acting; not seeing is as if there were nothing
SET ROLE og_reader;
SELECT * FROM order_guard.resolve(-1, 'close');
SELECT * FROM order_guard.resolve(-1, 'close', args => '{"dry_run": true}');
SELECT * FROM order_guard.resolve_all('reported', 'close', 'og_shop.orders');
SELECT * FROM order_guard.resolve_all('reported', 'close');
SELECT order_guard.acknowledge(-1);
SELECT order_guard.snooze(-1, now() + interval '1 h');
SET ROLE og_stranger;
SELECT * FROM order_guard.resolve(-1, 'close');
SELECT order_guard.acknowledge(-1);
SELECT order_guard.snooze(-1, now() + interval '1 h');
SELECT order_guard.acknowledge(-12345);
SELECT order_guard._key_condition(-1, '1');

-- who may UPDATE the status may act; the order is moved as himself
SET ROLE og_agent;
SELECT order_guard.acknowledge(-5);
SELECT order_guard.snooze(-5, '2999-01-01 00:00+00');
SELECT result FROM order_guard.resolve(-5, 'close');
SELECT incident, result, detail FROM order_guard.resolve_all('reported',
	'close', 'og_shop.orders', max => 1);
\set VERBOSITY sqlstate
SELECT result FROM order_guard.resolve(-6, 'move', args => '{"to": "PAID"}');
\set VERBOSITY default
RESET ROLE;
GRANT INSERT ON og_shop.audit TO og_agent;
SET ROLE og_agent;
SET search_path = og_shop;
SELECT result, detail FROM order_guard.resolve(-6, 'move',
	args => '{"to": "PAID"}');
RESET ROLE;
SELECT who FROM audit;
DELETE FROM audit;
RESET search_path;

-- no table, no owner
SET ROLE og_owner;
SELECT * FROM order_guard.resolve(-9, 'close');

-- a member of the owner acts as himself; triggers see his search_path
SET ROLE og_member;
\set VERBOSITY sqlstate
SELECT result, detail FROM order_guard.resolve(-1, 'move',
	args => '{"to": "PAID"}');
\set VERBOSITY default
SET search_path = og_shop;
SELECT result, detail FROM order_guard.resolve(-1, 'move',
	args => '{"to": "PAID"}');
SELECT who FROM audit;
RESET search_path;
SELECT replace(by, session_user, 'SESSION') AS by FROM order_guard.actions
	WHERE incident = -1;

-- operators of the caller change nothing
CREATE FUNCTION pg_temp.never(bigint, bigint) RETURNS boolean
	LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR pg_temp.= (FUNCTION = pg_temp.never, LEFTARG = bigint,
	RIGHTARG = bigint);
SET search_path = pg_temp, og_shop, pg_catalog;
SELECT result, detail FROM order_guard.resolve(-2, 'move',
	args => '{"to": "PAID"}');
SHOW search_path;
SELECT current_user;
RESET search_path;

-- row security of the table, even for its owner: then nothing is known
SET ROLE og_owner;
ALTER TABLE og_shop.orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE og_shop.orders FORCE ROW LEVEL SECURITY;
SELECT * FROM order_guard.resolve(-3, 'close');
ALTER TABLE og_shop.orders NO FORCE ROW LEVEL SECURITY;

-- acknowledge and snooze
SELECT order_guard.acknowledge(-4, 'I see to it');
SELECT order_guard.snooze(-4, now() - interval '1 h');
SELECT order_guard.snooze(-4, 'infinity');
SELECT order_guard.snooze(-4, '2999-01-01 00:00+00', 'later');
SELECT acknowledged_at IS NOT NULL AS acknowledged,
	replace(acknowledged_by, session_user, 'SESSION') AS by,
	snoozed_until = '2999-01-01 00:00+00' AS snoozed
	FROM order_guard.incidents WHERE id = -4;
SELECT result FROM order_guard.resolve(-4, 'close');
SELECT order_guard.snooze(-4, '2999-01-01 00:00+00');
SELECT order_guard.acknowledge(-4, 'too late');
SELECT action, result, detail IS NOT NULL AS detail, note
	FROM order_guard.actions WHERE incident = -4 ORDER BY id;
ROLLBACK;
