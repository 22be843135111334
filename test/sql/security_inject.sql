-- Every text that a function open to everybody takes is a value and nothing
-- else.  Each is called, as an ordinary owner, with texts that would break
-- out of a literal or an identifier that was not quoted; whatever they answer
-- must not be a syntax error of a statement of ours, nor have an effect.
SET client_min_messages = warning;
\pset tuples_only on
\pset format unaligned
CREATE ROLE og_evil;
CREATE SCHEMA evil AUTHORIZATION og_evil;
SET ROLE og_evil;
CREATE TABLE evil.orders (id int PRIMARY KEY, status text, token text);
CREATE INDEX ON evil.orders (token);
INSERT INTO evil.orders VALUES (1, 'NEW', 'a');
CREATE TABLE evil.hit (n int);
SELECT order_guard.watch('evil.orders', 'status', token => 'token') > 0;
RESET ROLE;
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		key, hash, status, summary)
	SELECT -1, 'stalled', w.id, w.relation, 'evil.orders', '1',
		gen_random_uuid(), 'NEW', 'order 1' FROM order_guard.watch w
	WHERE w.relation = 'evil.orders'::regclass;
CREATE TEMP TABLE nasty AS
SELECT n, x FROM unnest(ARRAY[
	'''; INSERT INTO evil.hit VALUES (1); --',
	'"; INSERT INTO evil.hit VALUES (1); --',
	'\''; INSERT INTO evil.hit VALUES (1); --',
	'$$; INSERT INTO evil.hit VALUES (1); --',
	'(status); INSERT INTO evil.hit VALUES (1)',
	'(status) FROM evil.orders; DELETE FROM evil.orders; SELECT (1)',
	'(SELECT 1)', '(1) + (2)', '((', '%s %I %L %1$s %', '$1', '{"a": "''"}',
	'{a,"b\""}', '("', 'a' || chr(10) || 'b', chr(8232) || chr(128169) ||
	chr(8238), '\', '\\''', '', ' ', 'status', '1',
	repeat('x', 1000000), repeat('(', 20000), repeat('''', 1000),
	'\x27', 'U&''\0027''', 'e''\'' or 1=1']) WITH ORDINALITY u (x, n);
GRANT SELECT ON nasty TO og_evil;
CREATE TEMP TABLE target AS
SELECT p.oid::regprocedure AS f, p.proname, a.i, a.type::regtype,
	(SELECT string_agg(CASE
		WHEN t.n = a.i AND t.type = 'text'::regtype THEN '%1$L'
		WHEN t.n = a.i AND t.type = 'name'::regtype THEN 'left(%1$L, 70)'
		WHEN t.n = a.i AND t.type = 'text[]'::regtype THEN 'ARRAY[%1$L]'
		WHEN t.n = a.i AND t.type = 'name[]'::regtype
			THEN 'ARRAY[left(%1$L, 70)]::name[]'
		WHEN t.n = a.i AND t.type = 'jsonb'::regtype
			THEN 'jsonb_build_object(%1$L, %1$L)'
		WHEN t.type IN ('regclass'::regtype, 'oid'::regtype)
			THEN '''evil.orders'''
		WHEN t.type = 'order_guard.watch'::regtype
			THEN 'order_guard._get_watch(''evil.orders'')'
		WHEN t.type = 'order_guard._visible_watch'::regtype
			THEN 'order_guard._watch_of(''evil.orders'')'
		WHEN t.type = 'boolean'::regtype THEN 'false'
		WHEN t.type = 'text'::regtype AND 'action' = p.proargnames[t.n]
			THEN '''close'''
		WHEN t.type = 'text'::regtype AND 'kind' = p.proargnames[t.n]
			THEN '''stalled'''
		WHEN t.type IN ('text'::regtype, 'name'::regtype) THEN '''status'''
		WHEN t.type = 'jsonb'::regtype THEN '''{}'''
		WHEN t.type = 'text[]'::regtype THEN '''{}''::text[]'
		WHEN t.type = 'name[]'::regtype THEN '''{id}''::name[]'
		WHEN t.type = 'interval'::regtype THEN '''0'''
		WHEN t.type = 'bigint'::regtype THEN '-1'
		WHEN t.type = 'integer'::regtype THEN '1'
		ELSE 'NULL' END || '::' || format_type(t.type, NULL), ', '
		ORDER BY t.n)
		FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY t (type, n))
	AS arguments
FROM pg_proc p
CROSS JOIN unnest(p.proargtypes::oid[]) WITH ORDINALITY a (type, i)
WHERE p.pronamespace = 'order_guard'::regnamespace
	AND a.type IN ('text'::regtype, 'name'::regtype, 'text[]'::regtype,
		'name[]'::regtype, 'jsonb'::regtype)
	AND has_function_privilege('og_evil', p.oid, 'EXECUTE');
GRANT SELECT ON target TO og_evil;
CREATE FUNCTION pg_temp.call(t target, x text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	EXECUTE format('SELECT count(*) FROM order_guard.%2$I(' || t.arguments ||
		') r', x, t.proname);
	RAISE EXCEPTION 'undo' USING ERRCODE = 'OG999';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS said = PG_EXCEPTION_CONTEXT;
	-- a statement of ours that does not parse; an expression that the
	-- caller gave, and says so, may be wrong
	IF SQLSTATE LIKE 'XX%' OR SQLSTATE = '42601'
		AND SQLERRM NOT LIKE 'not a single expression over a row'
		AND said NOT LIKE '%expression over a row of table%' THEN
		RETURN SQLSTATE || ' ' || left(SQLERRM, 100) || ' ' || said;
	END IF;
	RETURN NULL;
END
$$;
SET ROLE og_evil;
-- that each is really called, and enough of them
SELECT count(DISTINCT f) >= 40 FROM target;
DO $$
DECLARE
	t target;
	x nasty;
	wrong text;
BEGIN
	FOR t IN SELECT * FROM target LOOP
		FOR x IN SELECT * FROM nasty LOOP
			wrong := pg_temp.call(t, x.x);
			IF wrong IS NOT NULL THEN
				RAISE WARNING '% (% of %): %', t.f, x.n, t.i, left(wrong, 400);
			END IF;
		END LOOP;
	END LOOP;
END
$$;
SELECT count(*) FROM evil.hit;
SELECT * FROM evil.orders;
RESET ROLE;
SELECT order_guard.unwatch('evil.orders');
DELETE FROM order_guard.incident WHERE id = -1;
DROP SCHEMA evil CASCADE;
DROP TABLE target, nasty CASCADE;
DROP ROLE og_evil;
