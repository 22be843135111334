-- A policy does not guess while a gateway is asked, nor when that has said
-- something definite.
SET client_min_messages = warning;
CREATE TABLE pg_orders (id int PRIMARY KEY, status text);
SELECT order_guard.watch('pg_orders', 'status', '{"PAYING": "1 us"}',
	'{PAID}', options => '{"verdicts": {"succeeded": "PAID"}}') AS id \gset
SELECT count(*) FROM order_guard.scan();
-- one after the other, so that they are due in this order
INSERT INTO pg_orders VALUES (1, 'PAYING');
INSERT INTO pg_orders VALUES (2, 'PAYING');
INSERT INTO pg_orders VALUES (3, 'PAYING');
SELECT count(*) FROM order_guard.scan();
SELECT key, status FROM order_guard.claim(1, '1 h', NULL, 'pg_orders');
UPDATE order_guard.incident SET verdict = 'failed'
WHERE watch = :id AND key = '2';
SELECT order_guard.set_policy('pg', 'stalled', 'move', '0', 'pg_orders',
	args => '{"to": "CANCELLED", "guess": true}', dry_run => false);
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pg_orders ORDER BY id;
-- it says that it does not know yet: to be asked again after a pause
SELECT result FROM order_guard.incident i, order_guard.answer(i.id, 'pending')
WHERE watch = :id AND key = '1';
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pg_orders ORDER BY id;
-- the asker has died: from when it was to ask the policy counts anew
UPDATE order_guard.incident SET ask_at = now()
WHERE watch = :id AND key = '1';
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pg_orders ORDER BY id;
-- it guessed wrong
SELECT a.result, a.detail FROM order_guard.incident i,
	order_guard.answer(i.id, 'succeeded') a WHERE watch = :id AND key = '1';
SELECT kind, key, state, severity, summary, evidence - 'incident' AS evidence
FROM order_guard.incident WHERE watch = :id AND kind = 'contradiction';
SELECT * FROM pg_orders WHERE id = 1;
INSERT INTO pg_orders VALUES (4, 'PAYING');
SELECT order_guard.alter_policy('pg', enabled => false);
SELECT count(*) FROM order_guard.scan();
UPDATE order_guard.incident SET opened_at = now() - interval '2 h', asks = 1,
	ask_at = now() - interval '1 min' WHERE watch = :id AND key = '4';
SELECT order_guard.set_policy('pg', 'stalled', 'move', '1 h', 'pg_orders',
	args => '{"to": "CANCELLED", "guess": true}', dry_run => false);
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pg_orders WHERE id = 4;
UPDATE order_guard.incident SET ask_at = now() - interval '1 h'
WHERE watch = :id AND key = '4';
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pg_orders WHERE id = 4;
SELECT order_guard.drop_policy('pg');
SELECT order_guard.unwatch('pg_orders');
DROP TABLE pg_orders;
DELETE FROM order_guard.incident WHERE watch = :id;
