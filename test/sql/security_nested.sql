-- An error that code of a superuser catches within our own work does not give
-- everybody's functions the rights of the extension's owner.
SET client_min_messages = warning;
\set SHOW_CONTEXT never
CREATE ROLE sn_mallory;
CREATE SCHEMA sn;
GRANT USAGE ON SCHEMA sn TO sn_mallory;
CREATE TABLE sn.orders (id int PRIMARY KEY, status text);
CREATE TABLE sn.ran (who name);
CREATE FUNCTION sn.steal() RETURNS void LANGUAGE sql
AS 'INSERT INTO sn.ran VALUES (current_user)';
ALTER FUNCTION sn.steal() OWNER TO sn_mallory;
SELECT order_guard.watch('sn.orders', 'status', '{"NEW": "1 us"}') > 0 AS w;
INSERT INTO sn.orders VALUES (1, 'NEW');
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();

-- somebody keeps a record of his own of what people do about incidents
CREATE FUNCTION sn.copy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		PERFORM order_guard.outcome('sn.orders', '1');
		RAISE EXCEPTION 'not now';
	EXCEPTION WHEN raise_exception THEN
		NULL;
	END;
	PERFORM sn.steal();
	RETURN NULL;
END
$$;
CREATE TRIGGER sn_copy AFTER INSERT ON order_guard.action
FOR EACH ROW EXECUTE FUNCTION sn.copy();
SELECT order_guard.acknowledge(id) FROM order_guard.incidents
WHERE relation = 'sn.orders'::regclass;
SELECT count(*) FROM sn.ran;
-- what was limited ends with the sub-transaction that fails, and no sooner
BEGIN;
SAVEPOINT a;
SELECT order_guard.acknowledge(id) FROM order_guard.incidents
WHERE relation = 'sn.orders'::regclass;
ROLLBACK TO a;
SELECT sn.steal();
SELECT count(*) FROM sn.ran;
COMMIT;

DROP TRIGGER sn_copy ON order_guard.action;
SELECT order_guard.unwatch_all();
DROP SCHEMA sn CASCADE;
DROP ROLE sn_mallory;
