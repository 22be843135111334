-- Tries are bounded: what does not work is tried more and more seldom, then
-- a person is asked. The owner's code runs as the owner.
SET client_min_messages = warning;
CREATE ROLE pt_owner;
CREATE SCHEMA pt AUTHORIZATION pt_owner;
SET ROLE pt_owner;
CREATE TABLE pt.orders (id int PRIMARY KEY, status text);
CREATE TABLE pt.audit (fired text, who text, path text);
CREATE FUNCTION pt.audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF new.id = 1 THEN
		RAISE EXCEPTION 'secret of order %', new.id;
	ELSIF new.id = 2 THEN
		RETURN NULL;
	END IF;
	INSERT INTO pt.audit VALUES ('before', current_user,
		current_setting('search_path'));
	RETURN new;
END $$;
CREATE TRIGGER audit BEFORE UPDATE ON pt.orders FOR EACH ROW
	EXECUTE FUNCTION pt.audit();
-- deferred, it would fire at COMMIT with the worker's rights
CREATE FUNCTION pt.late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO pt.audit VALUES ('late', current_user,
		current_setting('search_path'));
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON pt.orders
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pt.late();
SELECT order_guard.watch('pt.orders', 'status', '{"PAYING": "1 us"}',
	'{PAID}') AS id \gset
SELECT order_guard.set_policy('pt', 'stalled', 'move', '0', 'pt.orders',
	max_tries => 2, backoff => '10 min',
	args => '{"to": "CANCELLED", "guess": true}', dry_run => false);
RESET ROLE;
SELECT count(*) FROM order_guard.scan();
INSERT INTO pt.orders VALUES (1, 'PAYING'), (2, 'PAYING'), (3, 'PAYING');
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
CREATE VIEW pt.actions AS
SELECT i.key, i.severity, i.state, a.action, a.by, a.result, a.detail
FROM order_guard.actions a JOIN order_guard.incidents i ON i.id = a.incident
WHERE i.relation = 'pt.orders'::regclass ORDER BY i.key, a.id;
SELECT * FROM pt.actions;
SELECT * FROM pt.audit ORDER BY fired;
SELECT * FROM pt.orders ORDER BY id;
SELECT done, refused, failed FROM order_guard.policies WHERE name = 'pt';

-- not again before ten minutes are over
SELECT i.key, t.tries, t.state, t.next_at - clock_timestamp()
	BETWEEN '9 min' AND '10 min' AS later
FROM order_guard.policy_try t JOIN order_guard.incident i ON i.id = t.incident
WHERE t.policy = 'pt' AND i.state = 'open' ORDER BY i.key;
SELECT tries, round(extract(epoch FROM order_guard._next_backoff('10 min',
	tries) - clock_timestamp()) / 60) AS minutes
FROM unnest('{1,2,3,7,8,9,31,1000}'::integer[]) tries;
SELECT round(extract(epoch FROM order_guard._next_backoff('2 d', tries)
	- clock_timestamp()) / 86400) AS days
FROM unnest('{9,32,1000}'::integer[]) tries;

-- then once more, and that was all
UPDATE order_guard.policy_try SET next_at = now() WHERE policy = 'pt';
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
UPDATE order_guard.policy_try SET next_at = now() WHERE policy = 'pt';
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pt.actions WHERE key <> '3';
SELECT i.key, t.tries, t.state FROM order_guard.policy_try t
JOIN order_guard.incident i ON i.id = t.incident
WHERE t.policy = 'pt' AND i.state = 'open' ORDER BY i.key;
SELECT * FROM pt.orders ORDER BY id;

SELECT order_guard.drop_policy('pt');
SELECT order_guard.unwatch('pt.orders');
DROP SCHEMA pt CASCADE;
DROP ROLE pt_owner;
