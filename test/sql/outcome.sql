-- outcome(relation, key): what became of an order
CREATE TABLE fate (id bigint PRIMARY KEY, status text);
SELECT order_guard.watch('fate', 'status', '{"NEW": "1 h"}') > 0 AS watched;
SELECT 'swept' AS scan FROM order_guard.scan();

CREATE FUNCTION fate(key text)
RETURNS TABLE (outcome text, key text, status text, sqlstate text,
	known_by_row boolean, unknown_because text, mine boolean, final boolean,
	message text)
LANGUAGE sql AS $$
	SELECT outcome, key, status, sqlstate, basis = 'row', unknown_because,
		pid = pg_backend_pid(), final, message
	FROM order_guard.outcome('fate', $1);
$$;

\x
-- committed: the row says so
INSERT INTO fate VALUES (1, 'NEW');
SELECT * FROM fate('1');
-- any text that is the same key
SELECT outcome, key FROM fate(' 01 ');

-- not yet, though the row is visible to us
BEGIN;
INSERT INTO fate VALUES (2, 'NEW');
UPDATE fate SET status = 'PAID' WHERE id = 1;
SELECT * FROM fate('2');
SELECT * FROM fate('1');
-- undone in part, while the transaction is open
SAVEPOINT s;
INSERT INTO fate VALUES (3, 'NEW');
ROLLBACK TO s;
SELECT * FROM fate('3');
-- the same when the journal has nothing of it
SET LOCAL order_guard.capture = off;
INSERT INTO fate VALUES (4, 'NEW');
SELECT * FROM fate('4');
ROLLBACK;

-- rolled back
SELECT * FROM fate('2');
SELECT * FROM fate('1');
-- refused: with the reason
INSERT INTO fate VALUES (1, 'NEW');
SELECT outcome, status FROM fate('1');
INSERT INTO fate VALUES (5, 'NEW'), (5, 'NEW');
SELECT outcome, sqlstate, final FROM fate('5');
-- placed after all
INSERT INTO fate VALUES (5, 'NEW');
SELECT outcome, sqlstate, final FROM fate('5');

-- unknown, and why
SELECT * FROM fate('99');
BEGIN;
UPDATE fate SET status = 'PAID' WHERE id = 5;
ROLLBACK;
DELETE FROM fate WHERE id = 5;
SELECT outcome, unknown_because, message FROM fate('5');
\x
DROP FUNCTION fate;
SELECT order_guard._judge('fate', NULL, NULL);
SELECT order_guard.unwatch('fate');
DROP TABLE fate;
