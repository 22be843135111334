-- A stranger learns nothing of others' orders by any view that he may read,
-- nor by any function that he may call: neither from what it answers nor
-- from its errors.  All of them are taken from the catalog.
SET client_min_messages = warning;
\pset tuples_only on
\pset format unaligned
CREATE ROLE og_stranger;
CREATE ROLE og_monitor IN ROLE pg_monitor;
CREATE TABLE og_hidden (id int PRIMARY KEY, status text, token text,
	customer text, amount numeric);
CREATE INDEX ON og_hidden (token);
SELECT order_guard.watch('og_hidden', 'status', '{"S-xyzzy": "1 us"}',
	token => 'token', customer => 'customer', amount => 'amount') AS watch
\gset
SELECT count(*) FROM order_guard.scan();
INSERT INTO og_hidden VALUES (7001, 'S-xyzzy', 'T-xyzzy', 'C-xyzzy', 31337);
BEGIN;
INSERT INTO og_hidden VALUES (7002, 'L-xyzzy', 'T-xyzzy2', 'C-xyzzy', 31337);
ROLLBACK;
SELECT count(*) FROM order_guard.scan();
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		key, hash, status, customer, summary, evidence)
	SELECT 900000000001, 'reported', :watch, 'og_hidden'::regclass, 'og_hidden', '7003',
		gen_random_uuid(), 'S-xyzzy', 'C-xyzzy', 'xyzzy', '{"x": "xyzzy"}';
-- its record stays: the table is append-only
INSERT INTO order_guard.action (incident, action, by, result, detail)
	VALUES (900000000001, 'close', 'x', 'refused', 'xyzzy');

CREATE TEMP TABLE target AS
SELECT c.oid::regclass::text AS f,
	format('SELECT v::text FROM %s v', c.oid::regclass) AS query
FROM pg_class c
WHERE c.relnamespace = 'order_guard'::regnamespace
	AND c.relkind IN ('r', 'v', 'm', 'p')
UNION ALL
SELECT p.oid::regprocedure::text,
	format('SELECT v::text FROM order_guard.%I(%s) v', p.proname, (SELECT string_agg(CASE
		WHEN t.type IN ('regclass'::regtype, 'oid'::regtype)
			THEN format('%L', 'og_hidden'::regclass::oid)
		WHEN t.type = 'boolean'::regtype THEN 'false'
		WHEN t.type = 'interval'::regtype THEN '''0'''
		WHEN p.proargnames[t.n] = 'incident' THEN '900000000001'
		WHEN t.type IN ('bigint'::regtype, 'integer'::regtype)
			THEN format('%s', w.id)
		WHEN p.proargnames[t.n] = 'action' THEN '''close'''
		WHEN p.proargnames[t.n] = 'kind' THEN '''reported'''
		WHEN p.proargnames[t.n] = 'state' THEN '''open'''
		WHEN p.proargnames[t.n] IN ('key', 'target_key')
			AND t.type = 'text'::regtype
			THEN '''7001'''
		WHEN p.proargnames[t.n] IN ('token', 'target_token')
			AND t.type = 'text'::regtype THEN '''T-'' || ''xyz'' || ''zy'''
		WHEN t.type = 'text'::regtype THEN '''status'''
		WHEN t.type = 'name'::regtype THEN '''status'''
		WHEN t.type = 'jsonb'::regtype THEN '''{}'''
		WHEN t.type = 'text[]'::regtype THEN '''{status}'''
		WHEN t.type = 'name[]'::regtype THEN '''{id}'''
		WHEN t.type = 'order_guard.watch'::regtype THEN
			'ROW(' || w.id || ', ' || w.relation::oid || ', ''{id}'','
			' ''status'','
			' ''{status}'', ''{}'', ''{}'', NULL, ''token'', ''amount'','
			' ''customer'', ''{}'', now(), ''x'')'
		ELSE 'NULL' END || '::' || format_type(t.type, NULL), ', '
		ORDER BY t.n)
		FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY t (type, n)))
FROM pg_proc p, order_guard.watch w
WHERE p.pronamespace = 'order_guard'::regnamespace AND w.id = :watch
	AND p.prorettype <> 'trigger'::regtype
	AND p.proname <> '_token_forms';	-- repeats what it is given
GRANT SELECT ON target TO PUBLIC;
CREATE FUNCTION pg_temp.ask(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
	detail text;
	hint text;
	context text;
BEGIN
	EXECUTE 'SELECT string_agg(v, '','') FROM (' || query || ') q (v)'
		INTO said;
	RAISE EXCEPTION USING ERRCODE = 'OG999', MESSAGE = coalesce(said, '');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL,
		hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
	RETURN CASE WHEN SQLSTATE IN ('42501', '42883')
			AND SQLERRM ~ '^permission denied for (view|table|function) _?\w+$'
			THEN 'denied ' ELSE SQLSTATE || ' ' END ||
		concat_ws(' ', SQLERRM, detail, hint, context);
END
$$;
-- in a transaction that has an order in flight
BEGIN;
INSERT INTO og_hidden VALUES (7004, 'F-xyzzy', 'T-xyzzy4', 'C-xyzzy', 31337);
-- the owner finds what is hidden in many places
SELECT count(*) >= 8 FROM target t WHERE pg_temp.ask(t.query) ~ 'xyzzy|31337';
SET LOCAL ROLE og_stranger;
SELECT count(*) FILTER (WHERE a NOT LIKE 'denied%') >= 60 AS called,
	count(*) FILTER (WHERE a LIKE 'denied%') >= 40 AS denied
FROM target t, pg_temp.ask(t.query) a;
SELECT t.f, pg_temp.ask(t.query) FROM target t
WHERE pg_temp.ask(t.query) ~ 'xyzzy|31337';
-- monitoring knows what watches there are and how they do: "xyzzy" is the
-- name of a status in their deadlines
SET LOCAL ROLE og_monitor;
SELECT t.f FROM target t WHERE pg_temp.ask(t.query) ~ 'xyzzy|31337'
ORDER BY 1;
SELECT t.f FROM target t WHERE replace(pg_temp.ask(t.query), 'S-xyzzy', '')
	~ 'xyzzy|31337' ORDER BY 1;
ROLLBACK;
SELECT order_guard.unwatch('og_hidden');
DELETE FROM order_guard.incident WHERE id = 900000000001;
DROP TABLE og_hidden;
DROP TABLE target CASCADE;
DROP ROLE og_stranger, og_monitor;
