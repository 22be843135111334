-- The table has triggers of its own: before, after, deferred.  What they
-- make of the row counts, and what they refuse has its reason.
SET client_min_messages = warning;
CREATE SEQUENCE sx_id;
CREATE TABLE sx_orders (
	id		bigint PRIMARY KEY,
	status	text,
	total	int
);
CREATE FUNCTION sx_before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	new.id := coalesce(new.id, nextval('sx_id'));
	new.status := upper(new.status);
	RETURN CASE WHEN new.total = 0 THEN NULL ELSE new END;
END
$$;
CREATE TRIGGER "000_before" BEFORE INSERT OR UPDATE ON sx_orders
FOR EACH ROW EXECUTE FUNCTION sx_before();
CREATE FUNCTION sx_after() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF new.total > 1000 AND new.status = 'PAYING' THEN
		UPDATE sx_orders SET status = 'REVIEW' WHERE id = new.id;
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER zz_after AFTER INSERT ON sx_orders
FOR EACH ROW EXECUTE FUNCTION sx_after();
CREATE FUNCTION sx_check() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF new.total < 0 THEN
		RAISE EXCEPTION 'total of order % is negative', new.id
			USING ERRCODE = 'check_violation';
	ELSIF new.total = 7 THEN
		UPDATE sx_orders SET status = 'PAYING', total = 8 WHERE id = new.id;
	END IF;
	RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER sx_check AFTER INSERT OR UPDATE ON sx_orders
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sx_check();
SELECT order_guard.watch('sx_orders', 'status', '{"PAYING": "1 us"}',
	amount => 'total') > 0 AS watched;
SELECT count(*) FROM order_guard.scan();

INSERT INTO sx_orders VALUES (NULL, 'paying', 5);	-- key and case from before
INSERT INTO sx_orders VALUES (NULL, 'paying', 0);	-- swallowed
INSERT INTO sx_orders VALUES (NULL, 'paying', 5000);	-- moved on by after
INSERT INTO sx_orders VALUES (NULL, 'new', 7);		-- changed by the deferred
INSERT INTO sx_orders VALUES (NULL, 'new', -1);		-- refused at commit
BEGIN;
INSERT INTO sx_orders VALUES (60, 'paying', -2);
SELECT count(*) FROM sx_orders WHERE id = 60;
COMMIT;
SELECT * FROM sx_orders ORDER BY id;
SELECT count(*) FROM order_guard.scan();
SELECT kind, key, status, amount, state FROM order_guard.incidents
WHERE relation = 'sx_orders'::regclass ORDER BY key;
SELECT key, new_status, outcome, sqlstate, reason
FROM order_guard.attempts WHERE relation = 'sx_orders'::regclass
ORDER BY key;
SELECT order_guard.unwatch('sx_orders');
DROP TABLE sx_orders CASCADE;
DROP FUNCTION sx_before, sx_after, sx_check;
DROP SEQUENCE sx_id;
