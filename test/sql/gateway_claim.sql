-- claim(): which incidents are handed out, to whom, how often.
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA og_shop;
CREATE TABLE og_shop.payments (id bigint PRIMARY KEY, status text,
	reference text);
CREATE TABLE og_shop.payouts (id bigint PRIMARY KEY, status text);
INSERT INTO og_shop.payments
	SELECT n, 'PAYING', 'web-' || n FROM generate_series(1, 19) n;
INSERT INTO og_shop.payouts VALUES (1, 'SENT');
INSERT INTO order_guard.watch (id, relation, key, status, status_columns,
		token, options)
	VALUES (-1, 'og_shop.payments', '{id}', 'status', '{status}', 'reference',
			'{"ask": ["1 m"]}'),
		(-2, 'og_shop.payouts', '{id}', 'status', '{status}', NULL, '{}');
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		key, hash, status, amount, customer, opened_at, summary)
	SELECT -n, 'stalled', -1, 'og_shop.payments'::regclass,
		'og_shop.payments', n, gen_random_uuid(), 'PAYING', n + 0.5, 'c-' || n,
		now() - n * interval '1 min', 'payment ' || n
	FROM generate_series(1, 9) n;
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		key, hash, status, evidence, summary)
	SELECT -n, k, -1, 'og_shop.payments'::regclass, 'og_shop.payments',
		key, gen_random_uuid(), status, evidence::jsonb, k
	FROM (VALUES (20, 'vanished', '20', NULL, '{"token": "web-20"}'),
		(21, 'vanished', '21', NULL, '{}'),
		(22, 'vanished', NULL, NULL, '{"token": "web-22"}'),
		(23, 'unacknowledged', '10', 'PAYING', '{"token": "web-10"}'),
		(24, 'stalled', NULL, NULL, '{"backlog": true}')
	) v (n, k, key, status, evidence);
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		key, hash, status, summary)
	VALUES (-30, 'stalled', -2, 'og_shop.payouts'::regclass,
		'og_shop.payouts', 1, gen_random_uuid(), 'SENT', 'payout 1');

-- the longest due first, with all that one needs to ask
SELECT c.incident, c.kind, c.relation, c.key, c.status, c.token, c.amount,
	c.customer, c.tries, c.lease > 0 AS lease,
	c.lease_until > clock_timestamp() AS lasts, c.opened_at < now() AS opened
	FROM order_guard.claim(2, '1 min') c;
-- those are away; relation and kind
SELECT incident, token FROM order_guard.claim(1, '1 min');
SELECT incident, token FROM order_guard.claim(9, '1 min', 'stalled',
	'og_shop.payouts');
SELECT incident, key, status, token FROM order_guard.claim(9, '1 min',
	'vanished');
SELECT incident, key, status, token FROM order_guard.claim(9, '1 min',
	'unacknowledged');
SELECT incident FROM order_guard.claim(9, '1 min', 'uncommitted');

-- not: put off by a person, closed, moved on, gone; but acknowledged
SELECT order_guard.acknowledge(-6);
SELECT order_guard.snooze(-5, now() + interval '1 h');
SELECT result FROM order_guard.resolve(-4, 'close');
UPDATE og_shop.payments SET status = 'PAID' WHERE id = 3;
DELETE FROM og_shop.payments WHERE id = 2;
SELECT incident FROM order_guard.claim(9, '1 min', NULL, 'og_shop.payments');
SELECT id, asks, ask_at > clock_timestamp() AS later
	FROM order_guard.incidents WHERE id IN (-1, -2, -3) ORDER BY id;

-- a lease that has run out
SELECT incident, tries FROM order_guard.claim(9, '1 min');
UPDATE order_guard.incident SET ask_at = now() WHERE id = -9;
SELECT incident, tries FROM order_guard.claim(9, '1 min');
UPDATE order_guard.incident SET ask_at = now() WHERE id = -9;
SELECT incident, tries FROM order_guard.claim(9, '1 min');
SELECT severity, summary, ask_person, asks FROM order_guard.incidents
	WHERE id = -9;

-- one that cannot be read does not keep back the others
UPDATE order_guard.incident SET key = 'x', ask_at = now() WHERE id = -8;
UPDATE order_guard.incident SET ask_at = now() WHERE id = -7;
SELECT incident, tries FROM order_guard.claim(9, '1 min');

-- the status is an expression: nothing to compare
UPDATE order_guard.watch SET status = '(upper(status))' WHERE id = -1;
UPDATE order_guard.incident SET ask_at = now() WHERE id = -3;
SELECT incident, status, token FROM order_guard.claim(9, '1 min');

-- the table is not watched any more
UPDATE order_guard.incident SET ask_at = NULL, asks = 0;
DELETE FROM order_guard.watch WHERE id = -1;
SELECT incident FROM order_guard.claim(99, '1 min');
SELECT incident FROM order_guard.claim(9, '1 min', NULL, 'og_shop.payments');

-- what cannot be
\set VERBOSITY terse
SELECT * FROM order_guard.claim(NULL, '1 min');
SELECT * FROM order_guard.claim(1, NULL);
SELECT * FROM order_guard.claim(0, '1 min');
SELECT * FROM order_guard.claim(1001, '1 min');
SELECT * FROM order_guard.claim(1, '0 s');
SELECT * FROM order_guard.claim(1, '-1 s');
SELECT * FROM order_guard.claim(1, '25 h');
SELECT * FROM order_guard.claim(1, '178000000 years');
SELECT * FROM order_guard.claim(1, '1 min', 'staled');
SELECT * FROM order_guard.claim(1, '1 min', NULL, 'pg_class');
ROLLBACK;
