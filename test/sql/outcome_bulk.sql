-- an order that is perhaps one of those that are only counted: which keys
SET client_min_messages = warning;
CREATE SCHEMA ob;
CREATE TABLE ob.orders (id bigint PRIMARY KEY, status text);
SELECT order_guard.watch('ob.orders', 'status', '{"NEW": "1 h"}') > 0 AS w;

CREATE FUNCTION ob.ask(relation regclass, key text)
RETURNS TABLE (outcome text, basis text, reason text) LANGUAGE sql AS $$
	SELECT outcome, basis, replace(reason, pg_backend_pid()::text, 'N')
	FROM order_guard.outcome(relation, key)
$$;

-- a number: the least and the greatest, in whatever order they came
BEGIN;
INSERT INTO ob.orders SELECT i, 'NEW' FROM generate_series(1, 1000) i;
SELECT * FROM ob.ask('ob.orders', '7000');
INSERT INTO ob.orders SELECT (i * 7919) % 9000 + 2000, 'NEW'
FROM generate_series(1, 8000) i;
SELECT * FROM ob.ask('ob.orders', '1');
SELECT * FROM ob.ask('ob.orders', '500000');
SELECT key, first_key, last_key, rows FROM order_guard.in_flight
WHERE relation = 'ob.orders'::regclass AND key IS NULL;
SELECT min(id), max(id) FROM ob.orders WHERE id > 1000;
-- those of an UPDATE, and of a savepoint that was rolled back
SAVEPOINT a;
UPDATE ob.orders SET id = 20000, status = 'OLD' WHERE id = 5000;
INSERT INTO ob.orders VALUES (-5, 'NEW');
ROLLBACK TO a;
SELECT reason FROM ob.ask('ob.orders', '500000');
ROLLBACK;

-- COPY, also where no BEFORE trigger sees the row
BEGIN;
COPY ob.orders FROM PROGRAM
'awk ''BEGIN { for (i = 9000; i > 4000; i--) printf "%d\tNEW\n", i }''';
SELECT reason FROM ob.ask('ob.orders', '500000');
ROLLBACK;
SELECT order_guard.watch('ob.orders', 'status',
	options => '{"refused": false}') > 0 AS w;
BEGIN;
COPY ob.orders FROM PROGRAM
'awk ''BEGIN { for (i = 9000; i > 4000; i--) printf "%d\tNEW\n", i }''';
SELECT reason FROM ob.ask('ob.orders', '500000');
-- a plain INSERT in the same transaction has its rows seen
INSERT INTO ob.orders VALUES (500, 'NEW');
SELECT reason FROM ob.ask('ob.orders', '500000');
ROLLBACK;

-- any other key: the first and the last; rows routed to partitions
CREATE TABLE ob.parts (
	shop text, ref uuid, status text, PRIMARY KEY (shop, ref)
) PARTITION BY LIST (shop);
CREATE TABLE ob.parts_a PARTITION OF ob.parts FOR VALUES IN ('a');
CREATE TABLE ob.parts_b PARTITION OF ob.parts FOR VALUES IN ('b');
SELECT order_guard.watch('ob.parts', 'status', '{"NEW": "1 h"}') > 0 AS w;
BEGIN;
INSERT INTO ob.parts
SELECT CASE WHEN i % 2 = 0 THEN 'a' ELSE 'b' END,
	lpad(i::text, 32, '0')::uuid, 'NEW'
FROM generate_series(1, 3000) i;
SELECT reason FROM ob.ask('ob.parts',
	'(a,00000000-0000-0000-0000-000000009999)');
ROLLBACK;

-- a key that is too long to be kept, and one that a trigger makes
CREATE TABLE ob.names (name text PRIMARY KEY, status text);
SELECT order_guard.watch('ob.names', 'status', '{"NEW": "1 h"}') > 0 AS w;
BEGIN;
INSERT INTO ob.names SELECT 'n' || i, 'NEW' FROM generate_series(1, 3000) i;
SELECT reason FROM ob.ask('ob.names', 'x');
INSERT INTO ob.names VALUES (repeat('x', 200), 'NEW');
INSERT INTO ob.names VALUES ('müller', 'NEW');
SELECT reason FROM ob.ask('ob.names', 'x');
ROLLBACK;
CREATE FUNCTION ob.rename() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN new.name := 'made-' || new.name; RETURN new; END$$;
CREATE TRIGGER zz_rename BEFORE INSERT ON ob.names
FOR EACH ROW EXECUTE FUNCTION ob.rename();
BEGIN;
COPY ob.names FROM PROGRAM
'awk ''BEGIN { for (i = 1; i <= 4000; i++) printf "c%d\tNEW\n", i }''';
SELECT reason FROM ob.ask('ob.names', 'x');
ROLLBACK;
BEGIN;
INSERT INTO ob.names SELECT 'i' || i, 'NEW' FROM generate_series(1, 4000) i;
SELECT reason FROM ob.ask('ob.names', 'x');
ROLLBACK;

SELECT order_guard.unwatch_all();
DROP SCHEMA ob CASCADE;
