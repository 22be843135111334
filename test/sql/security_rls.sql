-- Row security: who is bound by it sees what is open about committed orders
-- that he may see, and acts on that if he may UPDATE the table.  Nothing here
-- is committed: the worker has no part in it.
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE ROLE og_owner;
CREATE ROLE og_anna;
CREATE ROLE og_ben;
CREATE SCHEMA og_shop AUTHORIZATION og_owner;
GRANT USAGE ON SCHEMA og_shop TO PUBLIC;
SET ROLE og_owner;
CREATE TABLE og_shop.orders (a bigint, b text, status text, agent name,
	PRIMARY KEY (a, b));
INSERT INTO og_shop.orders VALUES (1, 'x', 'PAYING', 'og_anna'),
	(2, 'y"z', 'PAYING', 'og_ben'), (3, 'x', 'PAYING', 'og_anna');
ALTER TABLE og_shop.orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON og_shop.orders USING (agent = current_user);
GRANT SELECT, UPDATE ON og_shop.orders TO og_anna;
GRANT SELECT ON og_shop.orders TO og_ben;
RESET ROLE;
INSERT INTO order_guard.watch (id, relation, key, status, status_columns,
		deadlines)
	VALUES (-1, 'og_shop.orders', '{a,b}', 'status', '{status}',
		'{"PAYING": "1 h"}');
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		key, hash, status, state, summary, evidence)
	SELECT -n, kind, -1, 'og_shop.orders'::regclass, 'og_shop.orders', key,
		gen_random_uuid(), 'PAYING', state, concat('order ', key),
		jsonb_build_object('key', key)
	FROM (VALUES (1, 'stalled', '(1,x)', 'open'),
		(2, 'stalled', '(2,"y""z")', 'open'),
		(3, 'vanished', '(3,x)', 'open'),		-- never committed
		(4, 'stalled', '(3,x)', 'cleared'),		-- may be another's since
		(5, 'unacknowledged', '(3,x)', 'open'),
		(6, 'stalled', '(4,x)', 'open'),		-- no such row
		(7, 'stalled', NULL, 'open'),
		(8, 'stalled', 'no key', 'open')) v (n, kind, key, state);
INSERT INTO order_guard.action (id, incident, action, by, result)
	SELECT id, id, 'acknowledge', 'x', 'done' FROM order_guard.incident
	WHERE id BETWEEN -8 AND -1;
INSERT INTO order_guard.tracked (watch, hash, key, status, since, deadline)
	VALUES (-1, gen_random_uuid(), '(1,x)', 'PAYING', now() - interval '2 h',
		now() - interval '1 h'),
	(-1, gen_random_uuid(), '(2,"y""z")', 'PAYING', now() - interval '2 h',
		now() - interval '1 h');

PREPARE seen AS
	SELECT replace(current_user, session_user, 'superuser') AS reader,
		(SELECT array_agg(id ORDER BY id DESC) FROM order_guard.incidents
			WHERE relation = 'og_shop.orders'::regclass) AS incidents,
		(SELECT array_agg(id ORDER BY id DESC) FROM order_guard.actions
			WHERE id BETWEEN -8 AND -1) AS actions,
		(SELECT array_agg(key ORDER BY key) FROM order_guard.stalled
			WHERE relation = 'og_shop.orders'::regclass) AS stalled;
EXECUTE seen;
SET ROLE og_owner;
EXECUTE seen;
SET ROLE og_anna;
EXECUTE seen;
-- also for who would rather have an error than a filter
SET row_security = off;
EXECUTE seen;
RESET row_security;
SELECT event, detail ->> 'summary' AS summary
	FROM order_guard.explain('og_shop.orders', '(1,x)');
SELECT event FROM order_guard.explain('og_shop.orders', '(2,"y""z")');
SET ROLE og_ben;
EXECUTE seen;

-- acting: on what one sees, if one may UPDATE
SELECT result FROM order_guard.resolve(-2, 'close');
SELECT result FROM order_guard.resolve(-1, 'close');
SET ROLE og_anna;
SELECT order_guard.acknowledge(-2);
SELECT result FROM order_guard.resolve(-3, 'close');
SELECT result FROM order_guard.resolve(-4, 'close');
SELECT incident, result, detail FROM order_guard.resolve_all('stalled',
	'close');
SELECT result, detail FROM order_guard.resolve(-1, 'move',
	args => '{"to": "PAID"}');
EXECUTE seen;

-- FORCE binds the owner, too
SET ROLE og_owner;
ALTER TABLE og_shop.orders FORCE ROW LEVEL SECURITY;
EXECUTE seen;
UPDATE og_shop.orders SET agent = 'og_owner' WHERE a = 2;
CREATE POLICY his ON og_shop.orders TO og_owner USING (a = 2);
EXECUTE seen;

-- a policy that reads incidents does not look into itself
RESET ROLE;
ALTER TABLE og_shop.orders OWNER TO CURRENT_USER;
ALTER POLICY his ON og_shop.orders TO og_ben USING (EXISTS (
	SELECT FROM order_guard.incidents i WHERE i.key = '(1,x)'));
SET ROLE og_ben;
EXECUTE seen;
RESET ROLE;
DROP POLICY his ON og_shop.orders;

-- a function that tells cannot get in before the filter
SET ROLE og_ben;
CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE plpgsql
	COST 0.0001 AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$;
SELECT count(*) FROM order_guard.incidents WHERE pg_temp.tell(key);
-- nor does a table that is locked keep anybody waiting: see 085_row_security
ROLLBACK;
