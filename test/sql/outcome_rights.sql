-- outcome(): whom it answers, and what it refuses
\set VERBOSITY terse
CREATE ROLE og_support;
CREATE TABLE plain (id int PRIMARY KEY, status text);
CREATE TABLE kept (a int, b text, status text, PRIMARY KEY (a, b));
SELECT order_guard.watch('kept', 'status', '{"NEW": "1 h"}') > 0 AS watched;
SELECT 'swept' AS scan FROM order_guard.scan();
INSERT INTO kept VALUES (1, 'x', 'NEW'), (2, 'a "b", \c', 'NEW');

-- composite keys, as a row prints them
SELECT outcome, key, status FROM order_guard.outcome('kept', '(1,x)');
SELECT outcome, key FROM order_guard.outcome('kept', '(2,"a ""b"", \\c")');
SELECT outcome, key FROM order_guard.outcome('kept', '(3,)');

-- no such key can be
SELECT outcome FROM order_guard.outcome('kept', '1');
SELECT outcome FROM order_guard.outcome('kept', '(1)');
SELECT outcome FROM order_guard.outcome('kept', '(1,x');
SELECT outcome FROM order_guard.outcome('kept', '(one,x)');
SELECT outcome FROM order_guard.outcome('kept', '(99999999999,x)');
-- not watched
SELECT outcome FROM order_guard.outcome('plain', '1');
-- nothing is asked
SELECT count(*) FROM order_guard.outcome('kept', NULL);

-- rights
SET ROLE og_support;
SELECT outcome FROM order_guard.outcome('kept', '(1,x)');
SELECT outcome FROM order_guard.outcome('plain', '1');
RESET ROLE;
GRANT SELECT ON kept TO og_support;
SET ROLE og_support;
SELECT outcome, status FROM order_guard.outcome('kept', '(1,x)');
RESET ROLE;

-- row security: the visible rows, and of the others nothing
BEGIN;
INSERT INTO kept VALUES (7, 'x', 'NEW');
ROLLBACK;
SELECT outcome FROM order_guard.outcome('kept', '(7,x)');
ALTER TABLE kept ENABLE ROW LEVEL SECURITY;
CREATE POLICY small ON kept USING (a < 2);
SET ROLE og_support;
SELECT outcome, status FROM order_guard.outcome('kept', '(1,x)');
SELECT outcome, unknown_because, message
FROM order_guard.outcome('kept', '(2,"a ""b"", \\c")');
SELECT outcome, unknown_because FROM order_guard.outcome('kept', '(7,x)');
RESET ROLE;

SELECT order_guard.unwatch('kept');
DROP TABLE plain, kept;
DROP ROLE og_support;
