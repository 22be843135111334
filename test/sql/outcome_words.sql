-- outcome(): the other answers, and why something is not known
CREATE TABLE word (id bigint PRIMARY KEY, ref uuid UNIQUE, status text);
SELECT order_guard.watch('word', 'status', '{"NEW": "1 h"}',
	token => 'ref') AS id \gset
SELECT 'swept' AS scan FROM order_guard.scan();

CREATE FUNCTION word(key text)
RETURNS TABLE (outcome text, status text, basis text, unknown_because text,
	gid text, final boolean, reason text)
LANGUAGE sql AS $$
	SELECT outcome, status, basis, unknown_because, gid, final,
		regexp_replace(reason, 'process \d+', 'process N')
	FROM order_guard.outcome('word', $1);
$$;
\set VERBOSITY terse

-- prepared: whose order it is, until somebody finishes it
BEGIN;
INSERT INTO word VALUES (1, '11111111-0000-0000-0000-000000000000', 'NEW');
PREPARE TRANSACTION 'word 1';
SELECT * FROM word('1');
SELECT 'drained' AS scan FROM order_guard.scan();
SELECT * FROM word('1');
COMMIT PREPARED 'word 1';
SELECT * FROM word('1');
BEGIN;
INSERT INTO word VALUES (2, '22222222-0000-0000-0000-000000000000', 'NEW');
UPDATE word SET status = 'PAID' WHERE id = 1;
PREPARE TRANSACTION 'word 2';
SELECT * FROM word('1');
SELECT 'drained' AS scan FROM order_guard.scan();
SELECT * FROM word('1');
ROLLBACK PREPARED 'word 2';
SELECT * FROM word('2');
SELECT * FROM word('1');
SELECT 'drained' AS scan FROM order_guard.scan();
SELECT * FROM word('2');

-- deleted a moment ago, and of that nothing is on record
INSERT INTO word VALUES (3, NULL, 'DONE');
DELETE FROM word WHERE id = 3;
SELECT * FROM word('3');

-- past the rows that are listed one by one
BEGIN;
INSERT INTO word SELECT g, NULL, 'NEW' FROM generate_series(101, 1200) g;
SELECT * FROM word('110');
SELECT * FROM word('1150');
SELECT outcome, key, basis, message
FROM order_guard.outcome('33333333-0000-0000-0000-000000000000');
ROLLBACK;
SELECT * FROM word('1150');

-- a token is the same however it is written
BEGIN;
INSERT INTO word VALUES (4, 'abcdef00-0000-0000-0000-000000000000', 'NEW');
SELECT outcome, key FROM
	order_guard.outcome('ABCDEF00000000000000000000000000');
ROLLBACK;
SELECT outcome, key FROM
	order_guard.outcome('ABCDEF00000000000000000000000000');
SELECT 'drained' AS scan FROM order_guard.scan();
SELECT outcome, key FROM
	order_guard.outcome('{ABCDEF00000000000000000000000000}');

-- attempts are gone, the incident is not
INSERT INTO order_guard.incident (kind, watch, relation, relation_name, key,
	hash, summary)
VALUES ('vanished', :id, 'word'::regclass, 'word', '5',
	order_guard._key_hash('word'::regclass, '5'), 'order 5');
SELECT * FROM word('5');

-- not all is known
UPDATE order_guard.watch_state SET sweep = 'journal full' WHERE watch = :id;
SELECT * FROM word('9');
SELECT * FROM word('4');
UPDATE order_guard.watch_state SET sweep = 'watch' WHERE watch = :id;
SELECT * FROM word('9');
UPDATE order_guard.watch_state SET sweep = NULL WHERE watch = :id;
SELECT * FROM word('9');

-- an error while looking is no answer
CREATE ROLE og_reader;
GRANT SELECT ON word TO og_reader;
ALTER TABLE word ENABLE ROW LEVEL SECURITY;
CREATE POLICY broken ON word USING (id / (id - id) > 0);
SET ROLE og_reader;
SELECT outcome FROM order_guard.outcome('word', '1');
SELECT outcome FROM
	order_guard.outcome('11111111-0000-0000-0000-000000000000');
RESET ROLE;

DELETE FROM order_guard.incident WHERE watch = :id;
SELECT order_guard.unwatch('word');
DROP TABLE word CASCADE;
DROP FUNCTION word;
DROP ROLE og_reader;
