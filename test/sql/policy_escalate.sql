-- Escalation by age and amount; what was raised stays, whoever reports it
-- again.
SET client_min_messages = warning;
CREATE TABLE pe_orders (id int PRIMARY KEY, status text, total numeric);
SELECT order_guard.watch('pe_orders', 'status', '{"PAYING": "1 us"}',
	'{PAID}', amount => 'total') AS id \gset
SELECT count(*) FROM order_guard.scan();
INSERT INTO pe_orders VALUES (1, 'PAYING', 999), (2, 'PAYING', 1000),
	(3, 'PAYING', 5000), (4, 'PAYING', NULL);
SELECT count(*) FROM order_guard.scan();
UPDATE order_guard.incident SET opened_at = opened_at - interval '2 h'
WHERE watch = :id AND key <> '3';
CREATE VIEW pe_incidents AS
SELECT key, amount, severity FROM order_guard.incidents
WHERE relation = 'pe_orders'::regclass ORDER BY key;
SELECT order_guard.set_policy('pe big', 'stalled', 'escalate', '1 h',
	'pe_orders', args => '{"severity": "critical", "min_amount": 1000}');
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pe_incidents;
SELECT a.result, a.detail FROM order_guard.actions a
WHERE a.by = 'policy pe big';
SELECT order_guard.alter_policy('pe big', dry_run => false);
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pe_incidents;

-- older and older: nobody's severity falls
UPDATE order_guard.incident SET severity = 'info'
WHERE watch = :id AND key = '1';
SELECT order_guard.set_policy('pe all', 'stalled', 'escalate', '10 s',
	'pe_orders', args => '{"severity": "warning"}', dry_run => false);
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pe_incidents;
SELECT i.key, a.by, a.result, a.detail FROM order_guard.actions a
JOIN order_guard.incidents i ON i.id = a.incident
WHERE a.by LIKE 'policy pe %' ORDER BY a.id;
SELECT name, done, would_do, refused, failed FROM order_guard.policies
WHERE name LIKE 'pe %' ORDER BY name;

-- what a detector reports
SELECT reported, raised, order_guard._worse(reported, raised)
FROM unnest('{NULL,info,warning,critical}'::text[]) reported,
	unnest('{NULL,info,warning,critical}'::text[]) raised;

SELECT order_guard.drop_policy(name) FROM order_guard.policies
WHERE name LIKE 'pe %';
SELECT order_guard.unwatch('pe_orders');
DROP VIEW pe_incidents;
DROP TABLE pe_orders;
