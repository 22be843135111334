-- What was noted as one type is never read as another.
CREATE SCHEMA key_type_altered;
SET search_path = key_type_altered;
CREATE TYPE number AS (n bigint);
CREATE TABLE orders (id number PRIMARY KEY, status text);
SELECT order_guard.watch('orders', 'status', '{"PAYING": "1 hour"}') > 0 AS ok;
SELECT count(*) FROM order_guard.scan();
BEGIN;
INSERT INTO orders VALUES (ROW(1073741820), 'PAYING');
ROLLBACK;
BEGIN;
ALTER TABLE orders ALTER id TYPE text USING (id).n::text;
ALTER TYPE number ALTER ATTRIBUTE n TYPE text;
COMMIT;
SELECT count(*) FROM order_guard.scan();
SELECT key, outcome FROM order_guard.attempt
WHERE relation = 'orders'::regclass;
SELECT order_guard.unwatch('orders');
SET client_min_messages = warning;
DROP SCHEMA key_type_altered CASCADE;
