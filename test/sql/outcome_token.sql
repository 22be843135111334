-- outcome(token): all tables that have a column for it
CREATE TABLE bets (id int PRIMARY KEY, ref uuid UNIQUE, status text);
CREATE TABLE payments (id int PRIMARY KEY, token text UNIQUE, status text);
SELECT outcome, unknown_because FROM order_guard.outcome('no-such');
SELECT order_guard.watch('bets', 'status', '{"NEW": "1 h"}',
	token => 'ref') > 0 AS watched;
SELECT order_guard.watch('payments', 'status', '{"NEW": "1 h"}',
	token => 'token') > 0 AS watched;
SELECT 'swept' AS scan FROM order_guard.scan();

-- text that is no uuid is sought in the other table only
INSERT INTO payments VALUES (1, 'p-1', 'NEW');
SELECT outcome, relation, key, status, unknown_because
FROM order_guard.outcome('p-1');
SELECT outcome, relation, unknown_because, message
FROM order_guard.outcome('p-2');

-- in both: one placed, one not
INSERT INTO bets VALUES (10, '6ba7b810-9dad-11d1-80b4-00c04fd430c8', 'NEW');
BEGIN;
INSERT INTO payments VALUES (2, '6ba7b810-9dad-11d1-80b4-00c04fd430c8', 'NEW');
SELECT outcome, relation, key, status FROM
	order_guard.outcome('6ba7b810-9dad-11d1-80b4-00c04fd430c8');
ROLLBACK;
SELECT outcome, relation, key, status FROM
	order_guard.outcome('6ba7b810-9dad-11d1-80b4-00c04fd430c8');

-- tried twice under different keys: the last word counts
INSERT INTO payments VALUES (1, 'p-3', 'NEW');
INSERT INTO payments VALUES (3, 'p-3', 'NEW');
SELECT outcome, key FROM order_guard.outcome('p-3');
-- refused because the token is there already: it is
INSERT INTO payments VALUES (4, 'p-3', 'NEW');
SELECT outcome, key FROM order_guard.outcome('p-3');

SELECT order_guard.unwatch('bets'), order_guard.unwatch('payments');
DROP TABLE bets, payments;
