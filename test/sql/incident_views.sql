-- Who sees which incidents.  Nothing here is committed: the worker has no
-- part in it.
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE ROLE og_owner;
CREATE ROLE og_reader;
CREATE ROLE og_stranger;
CREATE ROLE og_monitor IN ROLE pg_monitor;
CREATE SCHEMA og_shop AUTHORIZATION og_owner;
GRANT USAGE ON SCHEMA og_shop TO PUBLIC;
SET ROLE og_owner;
CREATE TABLE og_shop.orders (id bigint PRIMARY KEY, status text);
CREATE TABLE og_shop.secured (id bigint PRIMARY KEY, status text);
CREATE TABLE og_shop.gone (id bigint PRIMARY KEY, status text);
ALTER TABLE og_shop.secured ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON og_shop.orders, og_shop.secured, og_shop.gone TO og_reader;
RESET ROLE;
INSERT INTO order_guard.watch (id, relation, key, status, status_columns,
		deadlines)
	VALUES (-1, 'og_shop.orders', '{id}', 'status', '{status}',
		'{"PAYING": "15 min"}'),
	(-2, 'og_shop.secured', '{id}', 'status', '{status}', '{"PAYING": "1 h"}');
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		key, hash, status, summary)
	SELECT -n, 'reported', -1, r, r::regclass::text, k, gen_random_uuid(),
		'PAYING', 'order ' || k
	FROM (VALUES (1, 'og_shop.orders'::regclass::oid, '1'),
		(2, 'og_shop.secured'::regclass, '2'),
		(3, 'og_shop.gone'::regclass, '3'), (4, 0, '4')) AS v (n, r, k);
INSERT INTO order_guard.action (id, incident, action, by, result)
	VALUES (-1, -1, 'close', 'x', 'done'), (-2, -2, 'close', 'x', 'done'),
	(-4, -4, 'close', 'x', 'done'), (-5, NULL, 'close', 'x', 'done');
INSERT INTO order_guard.tracked (watch, hash, key, status, since, deadline)
	VALUES (-1, gen_random_uuid(), '1', 'PAYING', now() - interval '1 h',
		now() - interval '45 min'),
	(-1, gen_random_uuid(), '2', 'PAYING', now(), now() + interval '15 min'),
	(-2, gen_random_uuid(), '3', 'PAYING', now() - interval '2 h',
		now() - interval '1 h');
DROP TABLE og_shop.gone;

PREPARE seen AS
	SELECT replace(current_user, session_user, 'superuser') AS reader,
		(SELECT array_agg(id ORDER BY id DESC) FROM order_guard.incidents
			WHERE id < 0) AS incidents,
		(SELECT array_agg(id ORDER BY id DESC) FROM order_guard.actions
			WHERE id < 0) AS actions,
		(SELECT array_agg(relation || ' ' || key ORDER BY key)
			FROM order_guard.stalled
			WHERE relation::text LIKE 'og_shop%') AS stalled;
EXECUTE seen;
SET ROLE og_owner;
EXECUTE seen;
SET ROLE og_reader;
EXECUTE seen;
SET ROLE og_stranger;
EXECUTE seen;
SET ROLE og_monitor;
EXECUTE seen;

-- but it sees how many there are, and nothing of any order
SELECT relation_name, kind, severity, state, incidents, orders, acknowledged
FROM order_guard.incident_counts WHERE relation_name LIKE 'og_shop.%'
ORDER BY 1;
SET ROLE og_reader;
SELECT count(*) FROM order_guard.incident_counts;

-- a function that tells cannot get in before the filter
SET ROLE og_stranger;
CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE plpgsql
	COST 0.0001 AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$;
SELECT count(*) FROM order_guard.incidents WHERE pg_temp.tell(key);
SELECT count(*) FROM order_guard.stalled WHERE pg_temp.tell(key);

-- the tables themselves are nobody's
SELECT count(*) FROM order_guard.incident;
SELECT count(*) FROM order_guard.action;
RESET ROLE;

SELECT relation, key, status, allowed, overdue >= interval '45 min' AS overdue,
	amount, customer
FROM order_guard.stalled WHERE relation = 'og_shop.orders'::regclass;
ROLLBACK;
