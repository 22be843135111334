-- An order is known by a key that PostgreSQL keeps unique.
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
CREATE SCHEMA wk;
CREATE TABLE wk.plain (a int NOT NULL, b int NOT NULL, c text, status text);
CREATE FUNCTION pg_temp.key(key text) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.try(format(
		'SELECT order_guard.watch(%L, %L, key => %L)',
		'wk.plain', 'status', key));
$$;

SELECT pg_temp.key(NULL);
SELECT pg_temp.key('{}');
SELECT pg_temp.key('{a}');
SELECT pg_temp.key('{A}');
SELECT pg_temp.key('{a,NULL}');

-- indexes that do not do
CREATE UNIQUE INDEX partial ON wk.plain (a) WHERE status <> 'old';
SELECT pg_temp.key('{a}');
DROP INDEX wk.partial;
CREATE UNIQUE INDEX expression ON wk.plain ((a + 1));
SELECT pg_temp.key('{a}');
DROP INDEX wk.expression;
CREATE INDEX not_unique ON wk.plain (a);
SELECT pg_temp.key('{a}');
DROP INDEX wk.not_unique;
ALTER TABLE wk.plain ADD CONSTRAINT later UNIQUE (a) DEFERRABLE;
SELECT pg_temp.key('{a}');
ALTER TABLE wk.plain DROP CONSTRAINT later;
CREATE UNIQUE INDEX nullable ON wk.plain (a, c);
SELECT pg_temp.key('{a,c}');
DROP INDEX wk.nullable;
CREATE UNIQUE INDEX wider ON wk.plain (a, b);
SELECT pg_temp.key('{a}');
SELECT pg_temp.key('{a,a}');
DROP INDEX wk.wider;
ALTER TABLE wk.plain ADD EXCLUDE USING hash (a WITH =);
SELECT pg_temp.key('{a}');

-- those that do: in the order wanted, with included columns
CREATE UNIQUE INDEX fits ON wk.plain (a, b) INCLUDE (c);
SELECT pg_temp.key(NULL);
SELECT pg_temp.key('{b,a}');
SELECT key FROM order_guard.watches;
SELECT order_guard.unwatch('wk.plain');

-- a primary key is the default, another key may be wanted
ALTER TABLE wk.plain ADD PRIMARY KEY (b);
SELECT pg_temp.key(NULL);
SELECT key FROM order_guard.watches;
SELECT pg_temp.key('{a,b}');
SELECT key FROM order_guard.watches;
SELECT pg_temp.key(NULL);
SELECT key FROM order_guard.watches;
SELECT order_guard.unwatch('wk.plain');

-- at most eight columns
CREATE TABLE wk.wide (a int, b int, c int, d int, e int, f int, g int, h int,
	i int, status text, PRIMARY KEY (a, b, c, d, e, f, g, h, i));
SELECT pg_temp.try($$SELECT order_guard.watch('wk.wide', 'status')$$);
SET client_min_messages = warning;
DROP SCHEMA wk CASCADE;
