-- Tokens given by the setting order_guard.token.
SET client_min_messages = warning;
CREATE SCHEMA ts;
CREATE TABLE ts.orders (id serial PRIMARY KEY, status text, total numeric,
	customer text);
CREATE TABLE ts.payments (id integer PRIMARY KEY, state text, total numeric);

-- options that do not go together
\set VERBOSITY terse
SELECT order_guard.watch('ts.orders', 'status', options => '{"settle": true}');
SELECT order_guard.watch('ts.orders', 'status', options => '{"token": "id"}');
SELECT order_guard.watch('ts.orders', 'status',
	options => '{"reuse": "refuse"}');
SELECT order_guard.watch('ts.orders', 'status',
	options => '{"token": "setting", "reuse": "ignore"}');
SELECT order_guard.watch('ts.orders', 'status',
	options => '{"token": "setting", "settle": false}');
SELECT order_guard.watch('ts.orders', 'status', token => 'id',
	options => '{"token": "setting"}');
\set VERBOSITY default
SELECT order_guard.watch('ts.orders', 'status', amount => 'total',
	customer => 'customer', options => '{"token": "setting"}') > 0;
SELECT order_guard.watch('ts.payments', 'state', amount => 'total',
	options => '{"token": "setting", "reuse": "incident"}') > 0;

CREATE VIEW ts.used AS
SELECT token, key, claim, reused FROM order_guard.token_use ORDER BY at;

-- an order and its payment, under one token
BEGIN;
SET LOCAL order_guard.token = 'web-1';
INSERT INTO ts.orders (status, total, customer) VALUES ('NEW', 10, 'eve');
INSERT INTO ts.payments VALUES (1, 'PAYING', 10);
COMMIT;
-- without a token nothing is written; a change does not use one
INSERT INTO ts.orders (status, total) VALUES ('NEW', 20);
SET order_guard.token = 'web-2';
UPDATE ts.orders SET status = 'PAYING';
RESET order_guard.token;
SELECT * FROM ts.used;
SELECT outcome, relation, key, status, final
FROM order_guard.outcome('web-1') ORDER BY relation::text;

-- again: the same content, other content
BEGIN;
SET LOCAL order_guard.token = 'web-1';
\set VERBOSITY sqlstate
INSERT INTO ts.orders (status, total, customer) VALUES ('NEW', 10, 'eve');
ROLLBACK;
SET order_guard.token = 'web-1';
INSERT INTO ts.orders (status, total, customer) VALUES ('NEW', 11, 'eve');
\set VERBOSITY terse
INSERT INTO ts.orders (status, total, customer) VALUES ('NEW', 11, 'eve');
\set VERBOSITY default
-- where the watch lets it pass it is told
INSERT INTO ts.payments VALUES (2, 'PAYING', 12);
RESET order_guard.token;
SELECT * FROM ts.used;
SELECT count(*) FROM order_guard.scan();
SELECT kind, key, severity, summary,
	jsonb_path_query_array(evidence, '$.orders[*].key') AS orders
FROM order_guard.incidents WHERE kind = 'duplicate';
SELECT * FROM ts.used;

-- one that is rolled back leaves nothing, and can be used again
BEGIN;
SET LOCAL order_guard.token = 'web-3';
SAVEPOINT a;
INSERT INTO ts.orders (id, status) VALUES (100, 'NEW');
ROLLBACK TO a;
INSERT INTO ts.orders (id, status) VALUES (101, 'NEW');
INSERT INTO ts.orders (id, status) VALUES (102, 'NEW');
ROLLBACK;
SELECT outcome, relation, key FROM order_guard.outcome('web-3');
BEGIN;
SET LOCAL order_guard.token = 'web-3';
INSERT INTO ts.orders (id, status) VALUES (103, 'NEW');
COMMIT;
SELECT outcome, relation, key, final FROM order_guard.outcome('web-3');
-- what is known of an order that is gone
DELETE FROM ts.orders WHERE id = 103;
SELECT outcome, key, basis, final FROM order_guard.outcome('web-3');

-- settle
SELECT outcome, key, basis, final FROM order_guard.settle('web-3');
SELECT outcome, final FROM order_guard.settle('web-4');
SET order_guard.token = 'web-4';
\set VERBOSITY sqlstate
INSERT INTO ts.orders (status) VALUES ('NEW');
\set VERBOSITY terse
SET order_guard.token = 'web-5';
BEGIN;
INSERT INTO ts.orders (id, status) VALUES (104, 'NEW');
PREPARE TRANSACTION 'og-token';
SELECT outcome, gid FROM order_guard.settle('web-5');
ROLLBACK PREPARED 'og-token';
SELECT outcome, gid FROM order_guard.settle('web-5');
SELECT set_config('order_guard.token', repeat('x', 257), false);
RESET order_guard.token;

-- somebody else's watch in a trigger of one's own
CREATE TABLE ts.forged (id integer, total numeric, customer text);
DO $$
BEGIN
	EXECUTE format('CREATE TRIGGER "00_order_guard_guard"
		AFTER INSERT ON ts.forged FOR EACH ROW
		EXECUTE FUNCTION order_guard.guard(%L, %L)', (SELECT id
		FROM order_guard.watch WHERE relation = 'ts.orders'::regclass), 'k1 id');
END $$;
SET order_guard.token = 'forged';
INSERT INTO ts.forged VALUES (1, 1, 'mallory');
SELECT count(*) FROM order_guard.token_use WHERE token = 'forged';
RESET order_guard.token;

-- tokens without a guard are labels
SELECT order_guard.watch('ts.payments', 'state', options => '{}') > 0;
BEGIN;
SET LOCAL order_guard.token = 'label';
INSERT INTO ts.payments VALUES (3, 'PAYING', 1);
SELECT key, token FROM order_guard.in_flight;
ROLLBACK;
SELECT count(*) FROM order_guard.scan();
SELECT key, token, outcome FROM order_guard.attempts
WHERE relation = 'ts.payments'::regclass;

SELECT order_guard.unwatch_all();
DROP SCHEMA ts CASCADE;
DELETE FROM order_guard.settled;
DELETE FROM order_guard.token_use;
