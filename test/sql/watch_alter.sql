-- Called again, watch() alters: NULL keeps what is set, '' takes it away.
-- What the worker could see to is done in transactions that it cannot see.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA wa;
CREATE TABLE wa.orders (
	id			bigint PRIMARY KEY,
	client_ref	text UNIQUE,
	status		text NOT NULL,
	total		numeric,
	customer_id	bigint,
	changed_at	timestamptz
);
CREATE VIEW wa.triggers AS
SELECT t.oid, t.xmin, t.tgname, t.tgenabled,
	substring(pg_get_triggerdef(t.oid) FROM 'capture.*') AS calls
FROM pg_trigger t WHERE t.tgrelid = 'wa.orders'::regclass;

BEGIN;
SELECT order_guard.watch('wa.orders', 'status', '{"PAYING": "15 min"}',
	'{PAID}', token => 'client_ref', amount => 'total',
	customer => 'customer_id', since => 'changed_at') AS id \gset
SELECT tgname, tgenabled,
	replace(calls, format('''%s ', :'id'), '''ID ') AS calls
FROM wa.triggers ORDER BY tgname;
SELECT sweep, loading FROM order_guard.watches;
COMMIT;

-- the same again: neither a lock, nor other triggers, nor a sweep
CREATE TABLE wa.before AS SELECT oid, xmin::text AS version FROM wa.triggers;
BEGIN;
UPDATE order_guard.watch_state SET sweep = NULL WHERE watch = :id;
SELECT order_guard.watch('wa.orders', NULL) = :id AS same_watch;
SELECT order_guard.watch('wa.orders', NULL,
	options => '{"vanished": "group"}') = :id AS same_watch;
SELECT mode FROM pg_locks
WHERE relation = 'wa.orders'::regclass AND pid = pg_backend_pid();
SELECT count(*) AS untouched FROM wa.triggers t
JOIN wa.before b ON b.oid = t.oid AND b.version = t.xmin::text;
SELECT sweep FROM order_guard.watches;

-- other deadlines: a sweep, the same triggers
SELECT order_guard.watch('wa.orders', NULL, '{"PAYING": "1 h"}') = :id;
SELECT deadlines, terminal, token, options, sweep FROM order_guard.watches;
SELECT count(*) AS untouched FROM wa.triggers t
JOIN wa.before b ON b.oid = t.oid AND b.version = t.xmin::text;
COMMIT;

-- other columns: the triggers are replaced
SELECT order_guard.watch('wa.orders', NULL, token => '',
	amount => '(total * 2)', customer => '') = :id;
SELECT token, amount, customer, since FROM order_guard.watches;
SELECT tgname, tgenabled,
	replace(calls, format('''%s ', :'id'), '''ID ') AS calls
FROM wa.triggers ORDER BY tgname;

-- without and with candidates of refused rows
SELECT order_guard.watch('wa.orders', NULL,
	options => '{"refused": false}') = :id;
SELECT count(*) FROM wa.triggers;
SELECT order_guard._check_triggers(:id);
SELECT order_guard.watch('wa.orders', NULL, options => '{}') = :id;
SELECT count(*) FROM wa.triggers;

-- what a person switched off stays off until he calls watch() again
BEGIN;
ALTER TABLE wa.orders DISABLE TRIGGER "00_order_guard_change";
SELECT order_guard._check_triggers(:id);
SELECT order_guard._repair_triggers(:id);
SELECT order_guard._check_triggers(:id);
SELECT order_guard.watch('wa.orders', NULL) = :id;
SELECT order_guard._check_triggers(:id);
ALTER TABLE wa.orders ENABLE TRIGGER "00_order_guard_change";
SELECT order_guard._check_triggers(:id);
SELECT order_guard.watch('wa.orders', NULL) = :id;
DROP TRIGGER "00_order_guard_change" ON wa.orders;
SELECT order_guard._check_triggers(:id);
SELECT order_guard._repair_triggers(:id);

COMMIT;

-- renamed columns are followed, what was switched off stays so
BEGIN;
SELECT order_guard.watch('wa.orders', '(lower(status))') = :id;
ALTER TABLE wa.orders DISABLE TRIGGER "00_order_guard_change";
ALTER TABLE wa.orders RENAME id TO "Order-Id";
ALTER TABLE wa.orders RENAME status TO state;
SELECT order_guard._check_triggers(:id);
SELECT order_guard._repair_triggers(:id);
SELECT key, status FROM order_guard.watches;
SELECT order_guard._check_triggers(:id);
SELECT order_guard.watch('wa.orders', NULL) = :id;
SELECT order_guard._check_triggers(:id);
ALTER TABLE wa.orders DROP COLUMN state;
SELECT order_guard._check_triggers(:id);
SELECT order_guard._repair_triggers(:id);

COMMIT;

-- a dropped table leaves a row, which unwatch_all() removes
SET client_min_messages = warning;
DROP TABLE wa.orders CASCADE;
SELECT regexp_replace(order_guard._check_triggers(:id), '\d+', 'N');
SELECT order_guard.unwatch_all();
SELECT count(*) FROM order_guard.watch;
DROP SCHEMA wa CASCADE;
