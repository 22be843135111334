-- A hostile owner of a guarded table: whatever code of his order_guard might
-- meet never runs as a superuser, nor as anybody else but him.  (The output
-- function of a type is in C, so it is not an ordinary user's.)
\set ON_ERROR_STOP on
SET client_min_messages = error;
\set VERBOSITY terse
CREATE ROLE og_evil;
CREATE SCHEMA evil AUTHORIZATION og_evil;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
SET ROLE og_evil;
-- who ran it; the attack itself: take over, or tell
CREATE TABLE evil.ran (who text, login text, what text);
GRANT ALL ON evil.ran TO PUBLIC;
CREATE FUNCTION evil.strike(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO evil.ran VALUES (current_user, session_user, what);
	EXECUTE 'ALTER ROLE og_evil SUPERUSER';
EXCEPTION WHEN OTHERS THEN
	INSERT INTO evil.ran VALUES (current_user, session_user, what);
END
$$;
CREATE FUNCTION evil.quietly(what text) RETURNS boolean LANGUAGE plpgsql
IMMUTABLE AS $$
BEGIN
	PERFORM evil.strike(what);	-- it lies: it is not immutable
	RETURN true;
EXCEPTION WHEN OTHERS THEN
	RETURN true;
END
$$;
-- a domain inside of a composite key
CREATE DOMAIN evil.part AS integer CHECK (evil.quietly('domain'));
CREATE TYPE evil.key AS (a evil.part);
-- a status with a cast
CREATE TYPE evil.mood AS ENUM ('PAYING', 'PAID');
CREATE FUNCTION evil.to_text(evil.mood) RETURNS text LANGUAGE plpgsql
IMMUTABLE AS $$
BEGIN
	PERFORM evil.strike('cast');
	RETURN 'PAYING';
END
$$;
CREATE CAST (evil.mood AS text) WITH FUNCTION evil.to_text(evil.mood);
CREATE FUNCTION evil.trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evil.strike(tg_name);
	RETURN new;
END
$$;
CREATE FUNCTION evil.default() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evil.strike('default');
	RETURN 'x';
END
$$;
CREATE TABLE evil.orders (k evil.key PRIMARY KEY, status evil.mood,
	token text, n int DEFAULT 1, d text DEFAULT evil.default());
CREATE INDEX ON evil.orders (token);
CREATE INDEX ON evil.orders (n) WHERE evil.quietly('index');
CREATE TRIGGER a BEFORE INSERT OR UPDATE ON evil.orders FOR EACH ROW
	EXECUTE FUNCTION evil.trigger();
CREATE CONSTRAINT TRIGGER b AFTER INSERT OR UPDATE ON evil.orders
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
	EXECUTE FUNCTION evil.trigger();
INSERT INTO evil.orders SELECT ROW(n)::evil.key, 'PAYING', 'tok' || n, n
	FROM generate_series(1, 50) n;
GRANT SELECT ON ALL TABLES IN SCHEMA evil TO PUBLIC;
SELECT order_guard.watch('evil.orders',
	'(CASE WHEN evil.quietly(''status'') AND n > 0 THEN ''PAYING'' END)',
	'{"PAYING": "1 us"}', token => 'token',
	amount => '(n + coalesce((''(7)''::evil.key).a, 0))',
	key => '{k}') > 0 AS watched;
TRUNCATE evil.ran;
RESET ROLE;

-- the worker: sweep, incidents, a column renamed under it
SELECT count(*) FROM order_guard.scan();
ALTER TABLE evil.orders RENAME n TO m;
ALTER TABLE evil.orders RENAME token TO tok;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT kind, count(*) FROM order_guard.incidents
WHERE relation = 'evil.orders'::regclass AND kind = 'stalled' GROUP BY kind;
-- a superuser looks at everything, and names no table
SELECT count(*) > 0 AS all_seen FROM order_guard.incidents;
SELECT count(*) > 0 AS all_seen FROM order_guard.stalled;
SELECT count(*) >= 0 AS all_seen FROM order_guard.in_flight;
SELECT count(*) FROM order_guard.outcome('tok1');
SELECT count(*) FROM order_guard.suggest() WHERE statement LIKE '%evil%';
\set ON_ERROR_STOP off
SELECT * FROM order_guard.resolve_all('stalled', 'move',
	args => '{"to": "PAID"}', dry_run => false);
\set ON_ERROR_STOP on
-- nothing ran but as its owner, and nobody has risen
SELECT who, count(*) FROM evil.ran WHERE who <> 'og_evil' GROUP BY who;
SELECT count(*) > 0 AS ran FROM evil.ran;
SELECT rolsuper FROM pg_roles WHERE rolname = 'og_evil';
SELECT order_guard.unwatch('evil.orders');
DROP SCHEMA evil CASCADE;
DROP ROLE og_evil;
