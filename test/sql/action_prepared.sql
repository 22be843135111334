-- Who may finish which prepared transaction.  Here there are none: whoever may
-- is told so.
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE ROLE og_owner;
CREATE ROLE og_other IN ROLE og_owner;
CREATE TABLE og_orders (id bigint PRIMARY KEY, status text);
ALTER TABLE og_orders OWNER TO og_owner;
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		hash, summary, evidence)
	SELECT -n, 'prepared', 0, 'og_orders'::regclass, 'og_orders',
		gen_random_uuid(), 'prepared', jsonb_build_object('gid', gid,
			'xid', '3', 'owner', 'og_owner', 'database', current_database())
	FROM unnest(ARRAY[
		-- an application's own
		'order-4711', 'citus', '12_order_7', '1_a_b', '7-12-x', 'batch_2024',
		-- of Citus, of a subscription
		'citus_0_1234_5_6', 'pg_gid_16394_731',
		-- XA: pgjdbc and psycopg, psqlODBC; Npgsql
		'131077_AAAAAAAAAAAAAP//fwABAWVlZWU=_AAAAAAAAAAAAAP//fwABAQ==',
		'1096044365_dG0xMjM0NTY3_dG0x', '-1_AAAA_', '1-00ff-00FE',
		'2f1e4fc0-81fd-11da-9156-00036a0f876a/4711']) WITH ORDINALITY g (gid, n);
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		hash, summary, evidence)
	SELECT -20, 'vanished', watch, relation, relation_name, gen_random_uuid(),
		summary, evidence
	FROM order_guard.incident WHERE id = -1;

-- a superuser; one of a transaction manager he has to name
SELECT i.evidence ->> 'gid' AS gid, r.result, r.detail
	FROM order_guard.incident i,
		order_guard.resolve(i.id, 'commit_prepared') r
	WHERE i.id BETWEEN -13 AND -1 ORDER BY i.id DESC;
SELECT r.result, r.detail FROM order_guard.incident i,
	order_guard.resolve(i.id, 'rollback_prepared', args =>
		jsonb_build_object('gid', i.evidence ->> 'gid')) r
	WHERE i.id IN (-7, -9);
SELECT result, detail FROM order_guard.resolve(-7, 'rollback_prepared',
	args => '{"gid": "citus_0_1234_5_7"}');
SELECT result, detail FROM order_guard.resolve(-20, 'commit_prepared');
SELECT result, detail FROM order_guard.resolve(-1, 'terminate');
SELECT proof FROM order_guard.actions WHERE incident = -7 AND proof ? 'lock'
	AND proof -> 'expected' ? 'gid';

-- its owner; a transaction manager's never
SET ROLE og_owner;
SELECT result, detail FROM order_guard.resolve(-1, 'commit_prepared');
SELECT result, detail FROM order_guard.resolve(-7, 'commit_prepared',
	args => '{"gid": "citus_0_1234_5_6"}');
-- a member of its owner is not its owner, for PostgreSQL neither
SET ROLE og_other;
SELECT result, detail FROM order_guard.resolve(-1, 'commit_prepared');
SELECT incident, result, detail
	FROM order_guard.resolve_all('prepared', 'commit_prepared', 'og_orders',
		max => 2);
RESET ROLE;
SELECT incident, result, detail
	FROM order_guard.resolve_all('prepared', 'commit_prepared', 'og_orders',
		args => '{"gid": "order-4711"}', max => 20, dry_run => false)
	ORDER BY incident DESC LIMIT 2;

SELECT * FROM order_guard.resolve(-1, 'commit_prepared', args => '{"gid": 1}');
SELECT * FROM order_guard.resolve(-1, 'terminate', args => '{"gid": "x"}');
ROLLBACK;
