-- DROP EXTENSION while a table is watched says what to do first.
SET client_min_messages = warning;
CREATE TABLE ed_orders (id integer PRIMARY KEY, status text);
CREATE ROLE og_dropper;
SELECT order_guard.unwatch_all() >= 0 AS none_left;
SELECT order_guard.watch('ed_orders', 'status') > 0 AS watched;
BEGIN;
DROP EXTENSION order_guard;
ROLLBACK;
BEGIN;
DROP EXTENSION IF EXISTS order_guard RESTRICT;
ROLLBACK;
-- one who may not is told no more than that
SET ROLE og_dropper;
BEGIN;
DROP EXTENSION order_guard;
ROLLBACK;
RESET ROLE;
-- another extension, one that is not there, and CASCADE, are let through
BEGIN;
DROP EXTENSION IF EXISTS og_other, order_guard_other;
DROP EXTENSION order_guard CASCADE;
SELECT count(*) FROM pg_trigger
WHERE tgrelid = 'ed_orders'::regclass AND NOT tgisinternal;
ROLLBACK;
SELECT order_guard.unwatch_all();
BEGIN;
DROP EXTENSION order_guard;
ROLLBACK;
DROP TABLE ed_orders;
DROP ROLE og_dropper;
