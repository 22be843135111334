-- Tokens in partitions, behind hash and partial indexes, in other types.
SET client_min_messages = warning;
CREATE SCHEMA sp;
CREATE TABLE sp.orders (id bigint, region text, ref varchar(20), status text,
	PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE sp.north (status text, ref varchar(20), gone int,
	region text NOT NULL, id bigint NOT NULL);
ALTER TABLE sp.north DROP COLUMN gone;
CREATE INDEX ON sp.orders USING hash (ref);
ALTER TABLE sp.orders ATTACH PARTITION sp.north FOR VALUES IN ('north');
CREATE TABLE sp.south PARTITION OF sp.orders FOR VALUES IN ('south');
CREATE DOMAIN sp.reference AS char(10);
CREATE TABLE sp.refunds (id integer PRIMARY KEY, ref sp.reference, state text);
CREATE INDEX ON sp.refunds (ref) WHERE ref IS NOT NULL;
SELECT order_guard.watch('sp.orders', 'status', token => 'ref',
	options => '{"settle": true}') > 0;
SELECT order_guard.watch('sp.refunds', 'state', token => 'ref',
	options => '{"settle": true}') > 0;

INSERT INTO sp.orders VALUES (1, 'north', 'n-1', 'NEW'), (2, 'south', NULL, 'NEW');
INSERT INTO sp.refunds VALUES (1, 'r-1', 'NEW'), (2, NULL, 'NEW');
SELECT t.token, s.outcome, s.relation, s.key, s.final
FROM unnest('{n-1,r-1,"r-1 ",n-2}'::text[]) WITH ORDINALITY t (token, n)
CROSS JOIN LATERAL order_guard.settle(t.token) s ORDER BY t.n;
SELECT '"' || token || '"' AS token FROM order_guard.settled ORDER BY token;
\set VERBOSITY sqlstate
INSERT INTO sp.orders VALUES (3, 'north', 'n-2', 'NEW');
UPDATE sp.orders SET region = 'north', ref = 'n-2' WHERE id = 2;
INSERT INTO sp.refunds VALUES (3, 'n-2', 'NEW');
-- a move to another partition is no new use, nor is ON CONFLICT DO NOTHING
UPDATE sp.orders SET region = 'south' WHERE id = 1;
INSERT INTO sp.refunds VALUES (1, 'n-2', 'NEW') ON CONFLICT DO NOTHING;
\set VERBOSITY default
SELECT outcome, key FROM order_guard.settle('n-1');
SELECT id, region, ref FROM sp.orders ORDER BY id;

-- a partition that comes later is guarded, too
CREATE TABLE sp.east PARTITION OF sp.orders FOR VALUES IN ('east');
\set VERBOSITY sqlstate
INSERT INTO sp.orders VALUES (3, 'east', 'n-2', 'NEW');
\set VERBOSITY default
SELECT outcome FROM order_guard.settle('n-3');
ALTER TABLE sp.east DISABLE TRIGGER "00_order_guard_guard";
SELECT order_guard.settle('n-4');
SELECT count(*) FROM order_guard.scan();
SELECT evidence ->> 'gap' AS gap FROM order_guard.incidents
WHERE kind = 'coverage' AND state = 'open';
-- an alteration of the column
ALTER TABLE sp.east ENABLE ALWAYS TRIGGER "00_order_guard_guard";
ALTER TABLE sp.refunds ALTER ref TYPE text;
ALTER TABLE sp.refunds RENAME ref TO reference;
\set VERBOSITY sqlstate
INSERT INTO sp.refunds VALUES (3, 'n-2', 'NEW');
\set VERBOSITY default
-- the option taken away, the guard is gone; its tombstones are not
SELECT order_guard.watch('sp.orders', 'status', options => '{}') > 0;
SELECT count(*) FROM pg_trigger
WHERE tgfoid = 'order_guard.guard'::regproc AND tgrelid <> 'sp.refunds'::regclass;
INSERT INTO sp.orders VALUES (3, 'east', 'n-2', 'NEW');

SELECT order_guard.unwatch_all();
DROP SCHEMA sp CASCADE;
DELETE FROM order_guard.settled;
