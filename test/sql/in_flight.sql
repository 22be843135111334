-- in_flight: one row per order of an open transaction, net of all it did
CREATE TABLE flight (
	id bigint PRIMARY KEY, ref text UNIQUE, status text, total numeric,
	customer text
);
SELECT order_guard.watch('flight', 'status', '{"NEW": "1 h"}',
	token => 'ref', amount => 'total', customer => 'customer') > 0 AS watched;
INSERT INTO flight VALUES
	(1, 'a', 'NEW', 10, 'Bob'), (2, 'b', 'NEW', 10.5, 'Al'),
	(3, 'c', 'NEW', 1, 'Al'), (4, 'd', 'NEW', 1, 'Al');
SELECT count(*) FROM order_guard.in_flight WHERE relation = 'flight'::regclass;

BEGIN;
UPDATE flight SET status = 'PAYING' WHERE id = 1;
UPDATE flight SET status = 'PAID' WHERE id = 1;
-- nothing that matters
UPDATE flight SET customer = 'Eve' WHERE id = 2;
DELETE FROM flight WHERE id = 3;
-- deleted and placed again: a change
DELETE FROM flight WHERE id = 4;
INSERT INTO flight VALUES (4, 'd', 'PAID', 2, 'Al');
-- placed and changed: an insert
INSERT INTO flight VALUES (5, 'e', 'NEW', 5, 'Al');
UPDATE flight SET status = 'PAYING' WHERE id = 5;
-- placed and deleted: nothing
INSERT INTO flight VALUES (6, 'f', 'NEW', 6, 'Al');
DELETE FROM flight WHERE id = 6;
-- undone
SAVEPOINT s;
INSERT INTO flight VALUES (7, 'g', 'NEW', 7, 'Al');
ROLLBACK TO s;
SELECT relation, key, operation, old_status, new_status, token, amount,
	customer, part, rows
FROM order_guard.in_flight WHERE relation = 'flight'::regclass ORDER BY key;
SELECT DISTINCT pid = pg_backend_pid() AS mine, gid,
	usename = current_user AS me,
	backend_start < xact_start AS started, xact_start = now() AS now,
	age >= '0' AS age, state, blocked_by,
	query LIKE 'SELECT DISTINCT pid%' AS query
FROM order_guard.in_flight WHERE relation = 'flight'::regclass;
COMMIT;
SELECT count(*) FROM order_guard.in_flight WHERE relation = 'flight'::regclass;

-- refused inside a savepoint: seen as long as the transaction is open
BEGIN;
SAVEPOINT s;
INSERT INTO flight VALUES (1, 'z', 'NEW', 7, 'Al');
ROLLBACK TO s;
SELECT key, operation, new_status, token, part FROM order_guard.in_flight
WHERE relation = 'flight'::regclass;
ROLLBACK;

-- past the limit only the number is known
BEGIN;
INSERT INTO flight
SELECT i, 'n' || i, 'NEW', 1, 'x' FROM generate_series(1001, 2010) i;
SELECT key IS NULL AS bulk, operation, part, count(*), sum(rows)
FROM order_guard.in_flight WHERE relation = 'flight'::regclass
GROUP BY 1, 2, 3 ORDER BY 1;
ROLLBACK;

SELECT order_guard.unwatch('flight');
DROP TABLE flight;
