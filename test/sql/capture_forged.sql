-- Anybody can make a trigger of capture() with any arguments, and call what
-- the triggers call.  It does no harm.
CREATE ROLE og_forger;
CREATE SCHEMA forged AUTHORIZATION og_forger;
SET ROLE og_forger;
CREATE TABLE forged.orders (id integer, t text);
CREATE FUNCTION forged.run(statement text) RETURNS void
LANGUAGE plpgsql AS 'BEGIN EXECUTE statement; END';
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
-- a condition where there is no row
CREATE TABLE forged.rows (id integer PRIMARY KEY, status text);
CREATE TRIGGER "00_order_guard_a" AFTER INSERT ON forged.rows
	FOR EACH STATEMENT WHEN (order_guard._itemising(7))
	EXECUTE FUNCTION order_guard.capture('7 k1 id, s2 status');
INSERT INTO forged.rows VALUES (1, 'x');
INSERT INTO forged.rows VALUES (2, 'x');
-- a trigger that becomes another one while a statement goes on
CREATE TRIGGER "00_order_guard_b" AFTER INSERT OR DELETE ON forged.rows
	FOR EACH ROW WHEN (order_guard._itemising(7))
	EXECUTE FUNCTION order_guard.capture('7 k1 id, s2 status');
INSERT INTO forged.rows VALUES (3, 'x');
INSERT INTO forged.rows VALUES (4, 'x');
CREATE FUNCTION forged.swap(i integer) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'CREATE OR REPLACE TRIGGER "00_order_guard_b" BEFORE INSERT'
		' ON forged.rows FOR EACH ROW'
		' EXECUTE FUNCTION order_guard.capture(''7 k1 id, s2 status'')';
	EXECUTE 'INSERT INTO forged.rows VALUES ($1, ''y'')' USING i + 1000;
	RETURN true;
END
$$;
DELETE FROM forged.rows WHERE id = 2 AND forged.swap(id);
SELECT * FROM forged.rows ORDER BY id;
SELECT count(*) FROM generate_series(1, 2000) i
WHERE order_guard._itemising(0) OR order_guard._itemising(-1);
RESET ROLE;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.watch_state WHERE sweep IS NOT NULL;

-- rows that were counted for a table to which nobody wrote
CREATE TABLE victims (id integer PRIMARY KEY, status text);
SELECT order_guard.watch('victims', 'status', '{"PAYING": "1 h"}') AS id
\gset
SELECT count(*) FROM order_guard.scan();
SELECT last_sweep FROM order_guard.watch_state WHERE watch = :id \gset
SET ROLE og_forger;
CREATE OR REPLACE TRIGGER "00_order_guard_forged" AFTER INSERT OR UPDATE
	OR DELETE ON forged.orders FOR EACH ROW EXECUTE FUNCTION
	order_guard.capture();
BEGIN;
SELECT count(*) FILTER (WHERE order_guard._itemising(:id))
FROM generate_series(1, 3000);
INSERT INTO forged.orders SELECT i FROM generate_series(1, 3000) i
WHERE order_guard._itemising(:id) IS NOT NULL;
ROLLBACK;
BEGIN;
SELECT count(*) FILTER (WHERE order_guard._itemising(:id))
FROM generate_series(1, 3000);
COMMIT;
-- by a statement that writes to a table whose trigger says so
SELECT forged.run(format(
	'CREATE OR REPLACE TRIGGER "00_order_guard_forged" AFTER INSERT'
	' ON forged.orders FOR EACH ROW WHEN (order_guard._itemising(%s))'
	' EXECUTE FUNCTION order_guard.capture(''%1$s k1 id, s2 t'')', :id));
INSERT INTO forged.orders SELECT i, 'PAYING' FROM generate_series(1, 3000) i;
BEGIN;
INSERT INTO forged.orders SELECT i, 'PAYING' FROM generate_series(1, 3000) i;
RESET ROLE;
SELECT relation, key IS NULL AS counted, count(*) FROM order_guard.in_flight
GROUP BY 1, 2 ORDER BY 1, 2;
SELECT outcome FROM order_guard.outcome('victims', '5');
ROLLBACK;
RESET ROLE;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.attempt WHERE watch = :id;
SELECT sweep, last_sweep = :'last_sweep' AS not_swept
FROM order_guard.watch_state WHERE watch = :id;
SELECT count(*) FROM order_guard.tracked WHERE watch = :id;

-- a trigger on the table itself, that is to take the place of the watch's
GRANT TRIGGER, INSERT ON victims TO og_forger;
SET ROLE og_forger;
SELECT forged.run(format('CREATE TRIGGER "0000" AFTER INSERT ON victims'
	' FOR EACH ROW WHEN (order_guard._itemising(%s)) EXECUTE FUNCTION'
	' order_guard.capture(''0'')', :id));
CREATE TRIGGER "000" BEFORE INSERT ON victims FOR EACH ROW
	EXECUTE FUNCTION order_guard.capture('0');
INSERT INTO victims VALUES (1, 'PAYING');
INSERT INTO victims VALUES (2, 'PAYING');
INSERT INTO victims VALUES (3, 'PAYING');
-- nor is its candidate the watch's
CREATE OR REPLACE TRIGGER "000" BEFORE INSERT ON victims FOR EACH ROW
	EXECUTE FUNCTION order_guard.capture('77 k1 id, s2 status');
INSERT INTO victims VALUES (4, 'PAYING');
INSERT INTO victims VALUES (5, 'PAYING');
RESET ROLE;
SELECT count(*) FROM order_guard.scan();
SELECT key, status FROM order_guard.tracked WHERE watch = :id ORDER BY key;
SELECT order_guard.unwatch('victims');
DROP TABLE victims;
DROP SCHEMA forged CASCADE;
DROP ROLE og_forger;
