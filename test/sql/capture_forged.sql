-- Anybody can make a trigger of capture() with any arguments, and call what
-- the triggers call.  It does no harm.
CREATE ROLE og_forger;
CREATE SCHEMA forged AUTHORIZATION og_forger;
SET ROLE og_forger;
CREATE TABLE forged.orders (id integer, t text);
-- more values than a record has room for
DO $$
BEGIN
	EXECUTE 'CREATE TRIGGER "00_order_guard_forged" AFTER INSERT OR UPDATE'
		' OR DELETE ON forged.orders FOR EACH ROW EXECUTE FUNCTION'
		' order_guard.capture(''1'''
		|| repeat(', ''s2'', ''t'', ''k2'', ''t''', 200) || ')';
END
$$;
INSERT INTO forged.orders VALUES (1, repeat('a', 300));
UPDATE forged.orders SET t = repeat('b', 301);
BEGIN;
UPDATE forged.orders SET t = repeat('c', 301);
ROLLBACK;
DELETE FROM forged.orders;
-- arguments that mean nothing
CREATE OR REPLACE TRIGGER "00_order_guard_forged" AFTER INSERT OR UPDATE
	OR DELETE ON forged.orders FOR EACH ROW EXECUTE FUNCTION
	order_guard.capture('-1', '', 'id', 'k99999', 'x', 's-7', 'y', 'k', 'id',
		'k');
INSERT INTO forged.orders VALUES (1, 'a');
UPDATE forged.orders SET t = 'b', id = 2;
CREATE OR REPLACE TRIGGER "00_order_guard_forged" BEFORE INSERT OR UPDATE
	OR DELETE ON forged.orders FOR EACH STATEMENT EXECUTE FUNCTION
	order_guard.capture();
UPDATE forged.orders SET t = 'c';
SELECT * FROM forged.orders;
SELECT count(*) FROM generate_series(1, 2000) i
WHERE order_guard._itemising(0) OR order_guard._itemising(-1);
RESET ROLE;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.watch_state WHERE sweep IS NOT NULL;
DROP SCHEMA forged CASCADE;
DROP ROLE og_forger;
