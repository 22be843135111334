-- A schema defines functions and operators named like built-in ones, first
-- in its search_path: what the worker runs is what watch() understood, and
-- none of it runs but what the status expression itself names.
SET client_min_messages = warning;
CREATE SCHEMA sh;
SET search_path = sh, pg_catalog, public;
CREATE FUNCTION sh.trap(what text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION '% was called', what;
END
$$;
CREATE FUNCTION sh.lower(text) RETURNS text LANGUAGE sql IMMUTABLE
AS $$ SELECT 'x' || pg_catalog.lower($1) $$;
CREATE FUNCTION sh.upper(text) RETURNS text LANGUAGE sql
AS $$ SELECT sh.trap('upper') $$;
CREATE FUNCTION sh.now() RETURNS timestamptz LANGUAGE sql
AS $$ SELECT sh.trap('now')::timestamptz $$;
CREATE FUNCTION sh.unnest(text[]) RETURNS SETOF text LANGUAGE sql
AS $$ SELECT sh.trap('unnest') $$;
CREATE FUNCTION sh.equal(text, text) RETURNS boolean LANGUAGE sql
AS $$ SELECT sh.trap('=')::boolean $$;
CREATE FUNCTION sh.equal(bigint, bigint) RETURNS boolean LANGUAGE sql
AS $$ SELECT sh.trap('=')::boolean $$;
CREATE OPERATOR sh.= (LEFTARG = text, RIGHTARG = text, FUNCTION = sh.equal);
CREATE OPERATOR sh.= (LEFTARG = bigint, RIGHTARG = bigint,
	FUNCTION = sh.equal);
CREATE DOMAIN sh.text AS pg_catalog.text;
CREATE DOMAIN sh.numeric AS pg_catalog.numeric CHECK (VALUE < 0);
CREATE TABLE sh.orders (
	id		bigint PRIMARY KEY,
	status	pg_catalog.text,
	token	pg_catalog.text,
	total	int
);
CREATE INDEX ON sh.orders (token);
SELECT order_guard.watch('sh.orders', '(sh.lower(status))',
	'{"xpaying": "1 us"}', token => 'token', amount => 'total') AS id \gset
SELECT status FROM order_guard.watches WHERE id OPERATOR(pg_catalog.=) :id;
SELECT count(*) FROM order_guard.scan();
INSERT INTO sh.orders VALUES (1, 'PAYING', 'a', 10);
BEGIN;
INSERT INTO sh.orders VALUES (2, 'PAYING', 'b', 10);
ROLLBACK;
INSERT INTO sh.orders VALUES (3, 'PAYING', 'c', 10);
RESET search_path;
SELECT count(*) FROM order_guard.scan();
UPDATE order_guard.attempt SET judge_at = now()
WHERE watch = :id AND judge_at IS NOT NULL;
SELECT count(*) FROM order_guard.scan();
SELECT kind, key, status, amount, state FROM order_guard.incidents
WHERE relation = 'sh.orders'::regclass ORDER BY id;
SELECT last_error FROM order_guard.watches WHERE id = :id;
SELECT order_guard.unwatch('sh.orders');
DROP SCHEMA sh CASCADE;
