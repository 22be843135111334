-- A watch covers all partitions, present and future ones.
\pset format unaligned
\pset tuples_only on
CREATE FUNCTION pg_temp.try(statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n', SQLSTATE || ': ' || SQLERRM, nullif(hint, ''));
END
$$;
CREATE SCHEMA wp;
CREATE TABLE wp.orders (region text, id bigint, status text NOT NULL,
	PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE wp.eu PARTITION OF wp.orders FOR VALUES IN ('eu');
CREATE TABLE wp.us (junk int, status text NOT NULL, id bigint NOT NULL,
	region text NOT NULL);
ALTER TABLE wp.us DROP COLUMN junk;
ALTER TABLE wp.orders ATTACH PARTITION wp.us FOR VALUES IN ('us');
CREATE TABLE wp.asia PARTITION OF wp.orders FOR VALUES IN ('jp', 'cn')
	PARTITION BY LIST (region);
CREATE TABLE wp.jp PARTITION OF wp.asia FOR VALUES IN ('jp');
CREATE FUNCTION pg_temp.triggers() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('%s: %s', tgrelid::regclass, string_agg(format('%s %s',
		replace(tgname, '00_order_guard_', ''), tgenabled), ', '
		ORDER BY tgname))
	FROM pg_trigger WHERE tgname LIKE '00_order_guard_%'
	GROUP BY tgrelid ORDER BY tgrelid::regclass::text;
$$;

SELECT order_guard.watch('wp.orders', 'status', '{"NEW": "1 min"}') AS id \gset
SELECT key FROM order_guard.watches;
SELECT pg_temp.triggers();
SELECT order_guard._check_triggers(:id);

-- neither a partition nor a table above can be watched besides
SELECT pg_temp.try($$SELECT order_guard.watch('wp.jp', 'status')$$);
SELECT pg_temp.try($$SELECT order_guard.watch('wp.asia', 'status')$$);

-- writing works everywhere
INSERT INTO wp.orders VALUES ('eu', 1, 'NEW'), ('us', 2, 'NEW'),
	('jp', 3, 'NEW');
UPDATE wp.orders SET region = 'us' WHERE id = 1;
DELETE FROM wp.orders WHERE id = 3;
TRUNCATE wp.us;

-- new partitions get row triggers at once, TRUNCATE's by a repair; in a
-- transaction, so that the worker is not faster
BEGIN;
CREATE TABLE wp.cn PARTITION OF wp.asia FOR VALUES IN ('cn');
SELECT order_guard._check_triggers(:id);
SELECT order_guard._repair_triggers(:id);
SELECT order_guard._check_triggers(:id);
SELECT order_guard._repair_triggers(:id);
SELECT pg_temp.triggers();

COMMIT;

-- switched off on one partition only: seen, and left alone
BEGIN;
ALTER TABLE wp.us DISABLE TRIGGER USER;
SELECT order_guard._check_triggers(:id);
CREATE TABLE wp.au PARTITION OF wp.orders FOR VALUES IN ('au');
SELECT order_guard._repair_triggers(:id);
SELECT order_guard._check_triggers(:id);
ALTER TABLE wp.orders RENAME id TO number;
SELECT order_guard._repair_triggers(:id);
SELECT order_guard._check_triggers(:id);
SELECT pg_temp.triggers();
SELECT order_guard.watch('wp.orders', NULL) = :id;
SELECT order_guard._check_triggers(:id);

COMMIT;

-- a detached partition is not watched any more
ALTER TABLE wp.orders DETACH PARTITION wp.eu;
SELECT order_guard._check_triggers(:id);
SELECT order_guard.unwatch('wp.orders');
SELECT pg_temp.triggers();

-- a watched partition stands in the way of its table
SELECT order_guard.watch('wp.jp', 'status') > 0;
SELECT pg_temp.try($$SELECT order_guard.watch('wp.orders', 'status')$$);
SELECT order_guard.unwatch('wp.jp');
SET client_min_messages = warning;
DROP SCHEMA wp CASCADE;
