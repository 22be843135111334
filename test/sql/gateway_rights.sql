-- Whose incidents are handed out, and in whose name an order is moved.
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE ROLE og_owner;
CREATE ROLE og_asker IN ROLE og_owner;
CREATE ROLE og_reader;
CREATE ROLE og_stranger;
CREATE SCHEMA og_shop AUTHORIZATION og_owner;
GRANT USAGE ON SCHEMA og_shop TO PUBLIC;
SET ROLE og_owner;
CREATE TABLE og_shop.payments (id bigint PRIMARY KEY, status text);
CREATE TABLE og_shop.audit (who text);
CREATE FUNCTION og_shop.audit() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN INSERT INTO audit VALUES (current_user); RETURN new; END';
CREATE TRIGGER audit BEFORE UPDATE ON og_shop.payments FOR EACH ROW
	EXECUTE FUNCTION og_shop.audit();
INSERT INTO og_shop.payments SELECT n, 'PAYING' FROM generate_series(1, 9) n;
GRANT SELECT ON og_shop.payments TO og_reader;
RESET ROLE;
CREATE TABLE og_shop.secrets (id bigint PRIMARY KEY, status text);
INSERT INTO og_shop.secrets VALUES (1, 'PAYING');
INSERT INTO order_guard.watch (id, relation, key, status, status_columns,
		options)
	SELECT n, 'og_shop.' || t, '{id}', 'status', '{status}',
		'{"verdicts": {"succeeded": "PAID"}}'
	FROM (VALUES (-1, 'payments'), (-2, 'secrets')) v (n, t),
		LATERAL (SELECT ('og_shop.' || t)::regclass) r (relation);
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		key, hash, status, summary)
	SELECT -n, 'stalled', CASE n WHEN 9 THEN -2 ELSE -1 END,
		CASE n WHEN 9 THEN 'og_shop.secrets'::regclass
			ELSE 'og_shop.payments'::regclass END,
		'og_shop', CASE n WHEN 9 THEN 1 ELSE n END, gen_random_uuid(),
		'PAYING', 'payment'
	FROM generate_series(1, 9) n;

SET ROLE og_reader;
SELECT * FROM order_guard.claim(9, '1 min');
SELECT * FROM order_guard.claim(9, '1 min', NULL, 'og_shop.payments');
SELECT * FROM order_guard.answer(-1, 'succeeded');
SET ROLE og_stranger;
SELECT * FROM order_guard.claim(9, '1 min');
SELECT * FROM order_guard.claim(9, '1 min', NULL, 'og_shop.payments');
SELECT * FROM order_guard.answer(-1, 'succeeded');
SELECT * FROM order_guard.resolve(-1, 'ask_again');
SELECT count(*) FROM order_guard.incident;
SELECT nextval('order_guard.lease_id');
SELECT order_guard._add_answer('{}', '{}');

-- a member of the owner: of his tables, as himself, under his search_path
SET ROLE og_asker;
SET search_path = og_shop;
SELECT incident FROM order_guard.claim(99, '1 min') ORDER BY incident DESC;
SELECT result, detail FROM order_guard.answer(-1, 'succeeded');
SELECT who FROM audit;
SELECT replace(by, session_user, 'SESSION') AS by FROM order_guard.actions
	WHERE incident = -1;
SELECT replace(resolution, session_user, 'SESSION') AS resolution
	FROM order_guard.incidents WHERE id = -1;
SELECT * FROM order_guard.answer(-9, 'succeeded');
SHOW search_path;
SELECT current_user;
RESET search_path;

-- what his trigger makes of it is refused, the verdict kept
SELECT result, detail FROM order_guard.answer(-2, 'succeeded');
SELECT status FROM og_shop.payments WHERE id = 2;
SELECT severity, verdict FROM order_guard.incidents WHERE id = -2;
RESET ROLE;
SELECT incident FROM order_guard.claim(99, '1 min');

-- who may UPDATE may act, but has to name a stranger's table, since its
-- triggers will run as him
GRANT UPDATE (status) ON og_shop.payments TO og_reader;
UPDATE order_guard.incident SET ask_at = NULL WHERE watch = -1;
SET ROLE og_reader;
SELECT incident FROM order_guard.claim(99, '1 min');
SELECT incident FROM order_guard.claim(1, '1 min', NULL, 'og_shop.payments');
RESET ROLE;
SELECT incident FROM order_guard.claim(99, '1 min');
SELECT incident FROM order_guard.claim(1, '1 min', NULL, 'og_shop.payments');
-- under row security nothing is handed out
ALTER TABLE og_shop.payments ENABLE ROW LEVEL SECURITY;
CREATE POLICY odd ON og_shop.payments USING (id % 2 = 1);
SET ROLE og_reader;
SELECT incident FROM order_guard.claim(9, '1 min', NULL, 'og_shop.payments');
ROLLBACK;
