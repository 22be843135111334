-- A policy that has a table's handler called: as its owner, once if it works,
-- as often as max_tries says if it does not.
SET client_min_messages = warning;
CREATE ROLE ph_owner;
CREATE SCHEMA ph AUTHORIZATION ph_owner;
SET ROLE ph_owner;
CREATE TABLE ph.orders (id int PRIMARY KEY, status text);
CREATE TABLE ph.calls (key text, who text);
CREATE FUNCTION ph.handle(incident bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path = ph, pg_temp AS $$
DECLARE
	i record;
BEGIN
	SELECT * INTO i FROM order_guard.incidents WHERE id = incident;
	IF i.key = '1' THEN
		RAISE EXCEPTION 'no';
	END IF;
	INSERT INTO calls VALUES (i.key, current_user);
	RETURN '{"note": "called"}';
END $$;
SELECT order_guard.watch('ph.orders', 'status', '{"PAYING": "1 us"}',
	'{PAID}', options => '{"handlers": {"stalled": "ph.handle"}}') AS id \gset
SELECT order_guard.set_policy('ph', 'stalled', 'handler', '0', 'ph.orders',
	max_tries => 2, backoff => '1 h');
RESET ROLE;
SELECT count(*) FROM order_guard.scan();
INSERT INTO ph.orders VALUES (1, 'PAYING'), (2, 'PAYING');
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
CREATE VIEW ph.actions AS
SELECT i.key, i.severity, i.state, a.by, a.result,
	replace(a.detail, format('(%s)', i.id), '(ID)') AS detail
FROM order_guard.actions a JOIN order_guard.incidents i ON i.id = a.incident
WHERE i.relation = 'ph.orders'::regclass ORDER BY i.key, a.id;
SELECT * FROM ph.actions;
SELECT order_guard.alter_policy('ph', dry_run => false);
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
UPDATE order_guard.policy_try SET next_at = now() WHERE policy = 'ph';
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT * FROM ph.actions WHERE result <> 'would_do';
SELECT * FROM ph.calls;
SELECT done, would_do, refused, failed FROM order_guard.policies
WHERE name = 'ph';

SELECT order_guard.drop_policy('ph');
SELECT order_guard.unwatch('ph.orders');
DROP SCHEMA ph CASCADE;
DROP ROLE ph_owner;
