-- A policy that has more to do than its budget is stopped, and that is an
-- incident until somebody has looked at it.
SET client_min_messages = warning;
CREATE TABLE pb_orders (id int PRIMARY KEY, status text);
SELECT order_guard.watch('pb_orders', 'status', '{"PAYING": "1 us"}',
	'{PAID}') AS id \gset
SELECT count(*) FROM order_guard.scan();
ALTER SYSTEM SET order_guard.policy_budget = 3;
SELECT pg_reload_conf();
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
INSERT INTO pb_orders SELECT n, 'PAYING' FROM generate_series(1, 10) n;
SELECT count(*) FROM order_guard.scan();
SELECT order_guard.set_policy('pb', 'stalled', 'close', '0', 'pb_orders',
	dry_run => false);
SELECT order_guard.set_policy('pb other', 'stalled', 'notify', '0',
	'pb_orders', '{SENT}', dry_run => false);
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT name, done, last_detail, suspended_until, suspended_why
FROM order_guard.policies WHERE name LIKE 'pb%' ORDER BY name;
SELECT kind, relation, severity, state, summary FROM order_guard.incidents
WHERE kind = 'policy';
SELECT evidence ->> 'hint' AS hint FROM order_guard.incidents
WHERE kind = 'policy';
SELECT count(*) FILTER (WHERE state = 'resolved') AS closed
FROM order_guard.incidents WHERE relation = 'pb_orders'::regclass;
-- a minute does not help, nor that somebody closes the incident
UPDATE order_guard.policy_state SET minute = minute - interval '2 min';
SELECT r.result FROM order_guard.incidents i,
	order_guard.resolve(i.id, 'close') r WHERE kind = 'policy';
SELECT count(*) FROM order_guard.scan();
SELECT name, done, suspended_until FROM order_guard.policies
WHERE name = 'pb';

-- enabled again it goes on, as far as the next minute lets it
SELECT order_guard.alter_policy('pb', enabled => true);
SELECT count(*) FROM order_guard.scan();
SELECT name, done, suspended_until FROM order_guard.policies
WHERE name = 'pb';
SELECT state FROM order_guard.incidents WHERE kind = 'policy' ORDER BY id;
SELECT order_guard.alter_policy('pb', enabled => true);
SELECT count(*) FROM order_guard.scan();
SELECT order_guard.alter_policy('pb', enabled => true);
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT name, done, suspended_until FROM order_guard.policies
WHERE name = 'pb';
SELECT state, CASE state WHEN 'cleared' THEN resolution END AS resolution
FROM order_guard.incidents WHERE kind = 'policy' ORDER BY id;

SELECT order_guard.drop_policy(name) FROM order_guard.policies
WHERE name LIKE 'pb%';
SELECT order_guard.unwatch('pb_orders');
ALTER SYSTEM RESET order_guard.policy_budget;
SELECT pg_reload_conf();
DELETE FROM order_guard.incident WHERE kind = 'policy';
DROP TABLE pb_orders;
