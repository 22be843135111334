-- watch() says what is wrong with each of its arguments.
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
CREATE SCHEMA we;
CREATE TYPE we.status AS ENUM ('NEW', 'PAYING', 'PAID');
CREATE TABLE we.orders (
	id			bigint PRIMARY KEY,
	client_ref	text,
	payload		jsonb UNIQUE,
	status		we.status NOT NULL,
	phase		smallint,
	done		boolean,
	total		numeric,
	created_at	timestamp,
	paid_at		timestamptz
);
CREATE VIEW we.v AS SELECT * FROM we.orders;
CREATE MATERIALIZED VIEW we.m AS SELECT * FROM we.orders;
CREATE TEMP TABLE t (id bigint PRIMARY KEY, status text);
CREATE FUNCTION we.state(o we.orders) RETURNS text
LANGUAGE sql STABLE AS 'SELECT o.status::text';

-- the table
SELECT pg_temp.try(format('SELECT order_guard.watch(%s, %L)', r, 'status'))
FROM unnest('{"NULL",''we.v'',''we.m'',''t'',''pg_class'',
	''order_guard.watch'',''information_schema.sql_features'',
	99999999}'::text[]) r;

-- the status
SELECT pg_temp.try(format('SELECT order_guard.watch(%L, %L)', 'we.orders', s))
FROM unnest(ARRAY[NULL, 'Status', 'colour', 'xmin', 'lower(status)',
	'(status', '(status) , (id)', '(status) FROM we.orders WHERE (true)',
	'(SELECT 1)', '(max(status::text))', '(generate_series(1, id))',
	'(row_number() OVER ())', '(random() || status::text)', '(now())',
	'(ctid::text)', '(nothing)', '(NULL, status']) s;

-- the amount
SELECT pg_temp.try(format(
	'SELECT order_guard.watch(%L, %L, amount => %L)',
	'we.orders', 'status', a))
FROM unnest('{tota,paid_at,(total + nothing),(paid_at)}'::text[]) a;

-- the deadlines
SELECT pg_temp.try(format('SELECT order_guard.watch(%L, %L, %L, %L)',
	'we.orders', 'status', d, '{PAID}'))
FROM unnest(ARRAY['[]', '"NEW"', '{"NEW": 5}', '{"NEW": "soon"}',
	'{"NEW": "0"}', '{"NEW": "-1 min"}', '{"NEW": "101 years"}',
	'{"NEW": "later"}', '{"PAID": "1 min"}', '{"LOST": "1 min"}']) d;
SELECT pg_temp.try($$SELECT order_guard.watch('we.orders', 'phase',
	'{"01": "1 min"}')$$);
SELECT pg_temp.try($$SELECT order_guard.watch('we.orders', 'done',
	'{"f": "1 min"}')$$);
SELECT pg_temp.try(format('SELECT order_guard.watch(%L, %L, %L)',
	'we.orders', 'client_ref', jsonb_build_object(repeat(s, n), '1 min')))
FROM (VALUES ('x', 201), ('y', 300)) v (s, n);
SELECT pg_temp.try(format('SELECT order_guard.watch(%L, %L, terminal => %L)',
	'we.orders', 'client_ref', ARRAY[repeat('x', 201)]));
SELECT pg_temp.try($$SELECT order_guard.watch('we.orders', 'status',
	terminal => '{NULL}')$$);
SELECT pg_temp.try($$SELECT order_guard.watch('we.orders', 'status',
	terminal => '{GONE}')$$);

-- since, token and customer
SELECT pg_temp.try(format('SELECT order_guard.watch(%L, %L, %s)',
	'we.orders', 'status', a))
FROM unnest('{since => ''created_at'',since => ''total'',
	since => ''nothing'',token => ''client_ref'',token => ''payload'',
	token => ''total'',customer => ''nothing''}'::text[]) a;

-- the options
SELECT pg_temp.try(format(
	'SELECT order_guard.watch(%L, %L, options => %L)',
	'we.orders', 'status', o))
FROM unnest(ARRAY['true', '{"refuse": true}', '{"refused": "no"}',
	'{"vanished": true}', '{"vanished": "most"}', '{"mask_key": null}']) o;

SELECT pg_temp.try($$SELECT order_guard.unwatch('we.orders')$$);

-- nothing of all that left a trace, and the whole row may be used
SELECT count(*) FROM order_guard.watches;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'we.orders'::regclass;
SELECT order_guard.watch('we.orders', '(we.state(orders))',
	amount => '(total) -- )') > 0;
SELECT status, status_columns, amount FROM order_guard.watch;
SELECT order_guard.unwatch('we.orders');
SET client_min_messages = warning;
DROP SCHEMA we CASCADE;
