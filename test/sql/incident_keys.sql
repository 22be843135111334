-- From a key's text to its row, by columns of many types; explain().
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA "og Shop";
CREATE TABLE "og Shop"."Order" (
	"Shop Id" integer, code varchar(20), day date, kind char(3),
	status text, PRIMARY KEY ("Shop Id", code, day, kind));
INSERT INTO "og Shop"."Order" VALUES
	(1, 'a,b', '2024-02-01', 'x', 'PAYING'),
	(2, E'q"u\\o''t)e', '2024-02-02', 'xyz', 'PAYING'),
	(3, '', '2024-02-03', 'xyz', 'PAYING'),
	(4, E'two\nlines', '2024-02-04', ' ', 'PAYING');
-- the worker writes keys in ISO
SET DateStyle = 'ISO';
INSERT INTO order_guard.watch (id, relation, key, status, status_columns)
	VALUES (-1, '"og Shop"."Order"', '{"Shop Id",code,day,kind}', 'status',
		'{status}');
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		key, hash, status, summary, opened_at)
	SELECT -o."Shop Id", 'reported', -1, '"og Shop"."Order"'::regclass,
		'"og Shop"."Order"', ROW(o."Shop Id", o.code, o.day, o.kind)::text,
		gen_random_uuid(), 'PAYING', 'order', '2024-02-05'
	FROM "og Shop"."Order" o;
\pset format unaligned
SELECT key, order_guard._key_condition(-1, key) FROM order_guard.incidents
	WHERE id < 0 ORDER BY id DESC;
\pset format aligned
SET DateStyle = 'German';
SELECT i, r.result, r.detail FROM generate_series(1, 4) i, order_guard.resolve(
	-i, 'move', args => '{"to": "PAID"}') r;
RESET DateStyle;
SELECT "Shop Id", status FROM "og Shop"."Order" ORDER BY 1;

-- nulls and nonsense
UPDATE order_guard.watch SET key = '{code,day}' WHERE id = -1;
SELECT order_guard._key_condition(-1, '(,)');
SELECT order_guard._key_condition(-1, '(a,"")');
SELECT order_guard._key_condition(-1, '(a,b,c)');
SELECT order_guard._key_condition(-1, '(a');
SELECT order_guard._key_condition(-1, '("a');
SELECT order_guard._key_condition(-1, '(a\');
SELECT order_guard._key_condition(-1, '(a,b)c');
SELECT order_guard._key_condition(-1, '');
SELECT order_guard._key_condition(-2, '1');
UPDATE order_guard.watch SET key = '{nix}' WHERE id = -1;
SELECT order_guard._key_condition(-1, '1');

-- every type by its own equality, so that its index serves
CREATE TYPE "og Shop".color AS ENUM ('red', 'green');
CREATE DOMAIN "og Shop".name AS varchar(10);
CREATE TABLE "og Shop".types (e "og Shop".color, d "og Shop".name,
	c char(5), n numeric(10,2), u uuid, i interval, j json, b bit(3));
UPDATE order_guard.watch SET relation = '"og Shop".types' WHERE id = -1;
DO $$
DECLARE
	col text;
BEGIN
	FOREACH col IN ARRAY '{e,d,c,n,u,i,b}'::text[] LOOP
		UPDATE order_guard.watch SET key = ARRAY[col]::name[] WHERE id = -1;
		RAISE INFO '%', order_guard._key_condition(-1, 'it''s \ 1');
	END LOOP;
END $$;
UPDATE order_guard.watch SET key = '{j}' WHERE id = -1;
SELECT order_guard._key_condition(-1, '{}');

CREATE TABLE "og Shop".big (id bigint PRIMARY KEY, status text,
	captured_at timestamptz, canceled boolean);
INSERT INTO "og Shop".big SELECT n, 'PAYING' FROM generate_series(1, 2000) n;
ANALYZE "og Shop".big;
UPDATE order_guard.watch SET relation = '"og Shop".big', key = '{id}'
	WHERE id = -1;
SELECT order_guard._row_query('"og Shop".big', '42') AS query \gset
EXPLAIN (COSTS OFF) :query;

-- explain(): what is known, in the order of time, and what is now
UPDATE order_guard.incident SET relation = '"og Shop".big'::regclass,
	key = '42', state = CASE id WHEN -1 THEN 'cleared' ELSE 'open' END,
	closed_at = CASE id WHEN -1 THEN '2024-02-06'::timestamptz END,
	resolution = NULL
	WHERE id IN (-1, -2);
ALTER TABLE order_guard.action DISABLE TRIGGER keep;
DELETE FROM order_guard.action WHERE incident < 0;
SELECT result FROM order_guard.resolve(-2, 'close', 'by phone');
SELECT event, detail - '{incident,by,resolution}'::text[] AS detail
	FROM order_guard.explain('"og Shop".big', '42');
SELECT event, detail FROM order_guard.explain('"og Shop".big', '4711');
UPDATE order_guard.watch SET status = '(CASE WHEN canceled THEN ''C'' END)',
	status_columns = '{captured_at,canceled}' WHERE id = -1;
SELECT event, detail FROM order_guard.explain('"og Shop".big', '43');
SELECT event, detail FROM order_guard.explain('pg_class', '43');
SELECT event, detail FROM order_guard.explain('"og Shop".big', 'x');
CREATE ROLE og_stranger;
GRANT USAGE ON SCHEMA "og Shop" TO og_stranger;
SET ROLE og_stranger;
SELECT event, detail FROM order_guard.explain('"og Shop".big', '42');
ROLLBACK;
