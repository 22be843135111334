-- What policies do: first only in words, then in earnest; never to an order
-- that is not where the incident says, nor to what a person has in hand.
SET client_min_messages = warning;
CREATE TABLE pr_orders (id int PRIMARY KEY, status text);
SELECT order_guard.watch('pr_orders', 'status', '{"PAYING": "1 us",
	"SENT": "1 us"}', '{PAID}') AS id \gset
SELECT count(*) FROM order_guard.scan();
-- one after the other, so that they are due in this order
INSERT INTO pr_orders VALUES (1, 'PAYING');
INSERT INTO pr_orders VALUES (2, 'PAYING');
INSERT INTO pr_orders VALUES (3, 'PAYING');
INSERT INTO pr_orders VALUES (4, 'PAYING'), (5, 'SENT');
SELECT count(*) FROM order_guard.scan();
CREATE VIEW pr_incidents AS
SELECT key, status, severity, state, resolution FROM order_guard.incidents
WHERE relation = 'pr_orders'::regclass ORDER BY key;
CREATE VIEW pr_actions AS
SELECT i.key, a.action, a.by, a.result, a.detail, a.note
FROM order_guard.actions a JOIN order_guard.incidents i ON i.id = a.incident
WHERE i.relation = 'pr_orders'::regclass
ORDER BY i.key, a.action, a.id;
CREATE VIEW pr_policies AS
SELECT name, dry_run, done, would_do, refused, failed, last_detail
FROM order_guard.policies WHERE name LIKE 'pr %' ORDER BY name;
SELECT order_guard.acknowledge(id) FROM order_guard.incidents
WHERE relation = 'pr_orders'::regclass AND key = '3';
SELECT order_guard.snooze(id, now() + '1 h') FROM order_guard.incidents
WHERE relation = 'pr_orders'::regclass AND key = '4';

-- a dry run says once what it would do
SELECT order_guard.set_policy('pr tell', 'stalled', 'notify', '0',
	'pr_orders');
SELECT order_guard.set_policy('pr move', 'stalled', 'move', '0', 'pr_orders',
	'{PAYING}', args => '{"to": "CANCELLED", "guess": true}');
SELECT order_guard.set_policy('pr old', 'stalled', 'close', '1 h',
	'pr_orders');
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pr_actions WHERE by LIKE 'policy pr %';
SELECT * FROM pr_policies;
SELECT * FROM pr_orders ORDER BY id;

-- in earnest: one order has moved on meanwhile
SET order_guard.capture = off;	-- the worker does not hear of it
UPDATE pr_orders SET status = 'PAID' WHERE id = 2;
RESET order_guard.capture;
SELECT order_guard.alter_policy(name, dry_run => false)
FROM unnest('{pr tell,pr move}'::text[]) name;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pr_actions WHERE by LIKE 'policy pr %' AND note IS NULL;
SELECT * FROM pr_policies;
SELECT * FROM pr_orders ORDER BY id;
SELECT * FROM pr_incidents;

-- the time is up; whose hands it was in has let go of it
UPDATE order_guard.incident SET snoozed_until = now() WHERE watch = :id;
SELECT order_guard.alter_policy('pr old', dry_run => false);
UPDATE order_guard.incident SET opened_at = opened_at - interval '2 h'
WHERE watch = :id AND key = '5';
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pr_orders ORDER BY id;
SELECT * FROM pr_incidents;

SELECT order_guard.drop_policy(name) FROM order_guard.policies
WHERE name LIKE 'pr %';
SELECT count(*) FROM order_guard.policy_try;
SELECT order_guard.unwatch('pr_orders');
DROP VIEW pr_actions, pr_incidents, pr_policies;
DROP TABLE pr_orders;
