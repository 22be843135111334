-- settle(): an answer that cannot change any more.
SET client_min_messages = warning;
CREATE SCHEMA st;
CREATE TABLE st.orders (id integer PRIMARY KEY, ref text UNIQUE, status text);
SELECT order_guard.watch('st.orders', 'status', token => 'ref') > 0;

-- the watch has to let its tokens be settled
SELECT order_guard.settle('t-1');
SELECT order_guard.watch('st.orders', 'status',
	options => '{"settle": true}') > 0;
SELECT tgname, tgenabled FROM pg_trigger
WHERE tgrelid = 'st.orders'::regclass ORDER BY tgname COLLATE "C";

CREATE VIEW st.settle AS
SELECT t.token, s.outcome, s.relation, s.key, s.status, s.basis, s.final,
	s.message
FROM unnest('{placed,never}'::text[]) WITH ORDINALITY t (token, n)
CROSS JOIN LATERAL order_guard.settle(t.token) s ORDER BY t.n;

INSERT INTO st.orders VALUES (1, 'placed', 'NEW');
SELECT * FROM st.settle;
SELECT token, settled_by = session_user AS by_me FROM order_guard.settled;
-- the same again, and the same from outcome()
SELECT token, outcome, final FROM st.settle;
SELECT outcome, basis, final, message FROM order_guard.outcome('never');

-- refused when it commits, whatever way it comes
\set VERBOSITY sqlstate
INSERT INTO st.orders VALUES (2, 'never', 'NEW');
\set VERBOSITY default
BEGIN;
UPDATE st.orders SET ref = 'never';
COMMIT;
BEGIN;
INSERT INTO st.orders VALUES (2, 'never', 'NEW');
PREPARE TRANSACTION 'og-settle';
COPY st.orders FROM stdin;
2	never	NEW
\.
BEGIN;
SAVEPOINT a;
SAVEPOINT b;
INSERT INTO st.orders VALUES (2, 'never', 'NEW');
RELEASE b;
RELEASE a;
COMMIT;
-- a sub-transaction that is rolled back takes its tokens along
BEGIN;
SAVEPOINT a;
SAVEPOINT b;
INSERT INTO st.orders VALUES (2, 'never', 'NEW');
RELEASE b;
ROLLBACK TO a;
INSERT INTO st.orders VALUES (3, 'other', 'NEW');
COMMIT;
-- nor does it matter that capture is off, or has counted on
SET order_guard.capture = off;
INSERT INTO st.orders VALUES (2, 'never', 'NEW');
RESET order_guard.capture;
BEGIN;
INSERT INTO st.orders SELECT i, 'bulk-' || i, 'NEW'
FROM generate_series(1000, 2999) i;
INSERT INTO st.orders VALUES (2, 'never', 'NEW');
COMMIT;
SET session_replication_role = replica;
INSERT INTO st.orders VALUES (2, 'never', 'NEW');
RESET session_replication_role;
SELECT id, ref FROM st.orders ORDER BY id;

-- the token of an open transaction
BEGIN;
INSERT INTO st.orders VALUES (4, 'mine', 'NEW');
SELECT order_guard.settle('mine', true);
ROLLBACK;
-- a rollback takes nothing back, and it need not write
BEGIN READ ONLY;
SELECT outcome, final FROM order_guard.settle('read-only');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM st.orders;
SELECT outcome, final FROM order_guard.settle('repeatable');
ROLLBACK;
SELECT token FROM order_guard.settled ORDER BY token;

-- a prepared transaction is decided by others
BEGIN;
INSERT INTO st.orders VALUES (5, 'prepared', 'NEW');
PREPARE TRANSACTION 'og-settle';
SELECT outcome, gid, final, message
FROM order_guard.settle('prepared', true);
COMMIT PREPARED 'og-settle';
SELECT outcome, key, final FROM order_guard.settle('prepared');
SELECT order_guard.settle(repeat('x', 257));
SELECT order_guard.settle('x', timeout => '-1 s');

-- its trigger has to be there
ALTER TABLE st.orders DISABLE TRIGGER "00_order_guard_guard";
SELECT order_guard.settle('unguarded');
ALTER TABLE st.orders ENABLE ALWAYS TRIGGER "00_order_guard_guard";
SELECT outcome FROM order_guard.settle('unguarded');

SELECT order_guard.unwatch_all();
DROP SCHEMA st CASCADE;
DELETE FROM order_guard.settled;
