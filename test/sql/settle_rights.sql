-- Who may settle a token, and see that it is settled.
SET client_min_messages = warning;
CREATE ROLE sr_owner;
CREATE ROLE sr_app;
CREATE ROLE sr_other;
CREATE SCHEMA sr;
GRANT ALL ON SCHEMA sr TO PUBLIC;
SET ROLE sr_owner;
CREATE TABLE sr.orders (id integer PRIMARY KEY, ref uuid, status text);
CREATE INDEX ON sr.orders (ref);
GRANT SELECT, INSERT ON sr.orders TO sr_app;
SELECT order_guard.watch('sr.orders', 'status', token => 'ref',
	options => '{"settle": true}') > 0;

-- the owner may, in any way to write the token
SELECT outcome, final
FROM order_guard.settle('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11');
RESET ROLE;
SELECT token, settled_by = session_user || ' as sr_owner' AS by_owner
FROM order_guard.settled ORDER BY token;

-- who may place orders is bound by it, sees it, and may not settle
SET ROLE sr_app;
\set VERBOSITY sqlstate
INSERT INTO sr.orders VALUES (1, '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}');
\set VERBOSITY default
SELECT outcome, final
FROM order_guard.outcome('a0eebc999c0b4ef8bb6d6bb9bd380a11');
SELECT order_guard.settle('no-uuid');
SELECT order_guard._settle('{x}', false, '1 s');
SELECT count(*) FROM order_guard.settled;
-- unless the owner lets him
SET ROLE sr_owner;
CREATE FUNCTION sr.settle(text) RETURNS text LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS
	'SELECT outcome FROM order_guard.settle($1)';
SET ROLE sr_app;
SELECT sr.settle('b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');

-- others see nothing of it
SET ROLE sr_other;
SELECT outcome, unknown_because
FROM order_guard.outcome('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
SELECT count(*) FROM order_guard._settled_token;

-- a second guarded table, of somebody else: now both have to agree
CREATE TABLE sr.payouts (id integer PRIMARY KEY, request integer, state text);
CREATE INDEX ON sr.payouts (request);
SELECT order_guard.watch('sr.payouts', 'state', token => 'request',
	options => '{"settle": true}') > 0;
INSERT INTO sr.payouts VALUES (1, 7, 'NEW');
SELECT order_guard.settle('7');
RESET ROLE;
SELECT outcome, relation, key FROM order_guard.settle('007');
SELECT outcome, final FROM order_guard.settle('+8');
SELECT token FROM order_guard.settled WHERE length(token) < 3 ORDER BY 1;
\set VERBOSITY sqlstate
INSERT INTO sr.payouts VALUES (2, 8, 'NEW');
\set VERBOSITY default
-- a table with tokens that are not guarded: nothing is said of that
CREATE TABLE sr.loose (id integer PRIMARY KEY, ref text, status text);
CREATE INDEX ON sr.loose (ref);
SELECT order_guard.watch('sr.loose', 'status', token => 'ref') > 0;
SELECT outcome, final FROM order_guard.settle('9');
SELECT outcome, final FROM order_guard.outcome('9');

-- tokens that can be written in several ways are not for settling
ALTER TABLE sr.loose ALTER ref TYPE name;
\set VERBOSITY terse
SELECT order_guard.watch('sr.loose', 'status',
	options => '{"settle": true}');
\set VERBOSITY default

SELECT order_guard.unwatch_all();
DROP SCHEMA sr CASCADE;
DROP ROLE sr_owner, sr_app, sr_other;
DELETE FROM order_guard.settled;
