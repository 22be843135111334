-- Names that need quotes, and names that lie in wait.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA "My-Shop";
CREATE TABLE "My-Shop"."order" ("order-Id" int, "user" text,
	"Status" text, "it's \ here" numeric, "größe" text UNIQUE,
	PRIMARY KEY ("order-Id", "user"));
SELECT order_guard.watch('"My-Shop"."order"', 'Status',
	'{"it''s \"new\"": "1 min"}', '{"a,b",""}', token => 'größe',
	amount => 'it''s \ here', customer => 'user') AS id \gset
SELECT relation, relation_name, key, status, deadlines, terminal, token,
	amount, customer
FROM order_guard.watches;
SELECT order_guard._check_triggers(:id);
SELECT array_to_string((order_guard._split_arguments(tgargs))[2:], ' | ')
FROM pg_trigger WHERE tgname = '00_order_guard_change';
SELECT order_guard.watch('"My-Shop"."order"',
	'("Status" || "it''s \ here"::text)') = :id;
SELECT status FROM order_guard.watches;
SELECT order_guard._check_triggers(:id);
SELECT order_guard.unwatch('"My-Shop"."order"');

-- objects of others in front of the search path are not used
CREATE SCHEMA evil;
CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE sql
	AS 'SELECT ''evil''';
CREATE FUNCTION evil.format(text, VARIADIC text[]) RETURNS text
	LANGUAGE sql AS 'SELECT ''evil''';
CREATE TABLE evil.pg_class (oid oid);
CREATE TEMP TABLE pg_attribute (attrelid oid);
SET search_path = evil, pg_temp, pg_catalog, "My-Shop";
SELECT order_guard.watch('"order"', '(lower("Status"))') > 0;
RESET search_path;
SELECT status FROM order_guard.watches;
SELECT order_guard.unwatch('"My-Shop"."order"');

-- the triggers sort before foreign keys' and ordinary ones
CREATE TABLE evil.customer (id int PRIMARY KEY);
CREATE TABLE evil."00_orders" (id int PRIMARY KEY, status text,
	customer int REFERENCES evil.customer);
SELECT order_guard.watch('evil."00_orders"', 'status') > 0;
SELECT regexp_replace(tgname, '_[0-9]+$', '')
FROM pg_trigger WHERE tgrelid = 'evil."00_orders"'::regclass
ORDER BY tgname COLLATE "C";
SELECT order_guard.unwatch_all();
SET client_min_messages = warning;
DROP SCHEMA "My-Shop", evil CASCADE;
