-- A hostile owner of a guarded table under row security: readers of incidents
-- and of outcome(token), who did not ask for his table, run nothing of his.
\set ON_ERROR_STOP on
SET client_min_messages = error;
\set VERBOSITY terse
CREATE ROLE og_evil;
CREATE ROLE og_victim;
CREATE SCHEMA evil AUTHORIZATION og_evil;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE TABLE og_secret (word text);
INSERT INTO og_secret VALUES ('hunter2');
GRANT SELECT ON og_secret TO og_victim;
GRANT USAGE ON SCHEMA public TO og_evil;
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
-- an operator that the planner calls for an estimate
CREATE FUNCTION evil.same(int, int) RETURNS boolean LANGUAGE plpgsql
IMMUTABLE AS $$
BEGIN
	PERFORM evil.strike('operator');
	RETURN true;
END
$$;
CREATE OPERATOR evil.=== (FUNCTION = evil.same, LEFTARG = int, RIGHTARG = int,
	RESTRICT = eqsel);
CREATE TABLE evil.members (id int);
INSERT INTO evil.members SELECT n % 3 FROM generate_series(1, 900) n;
ANALYZE evil.members;
CREATE TABLE evil.secured (id int PRIMARY KEY, status evil.mood, token text);
CREATE INDEX ON evil.secured (token);
ALTER TABLE evil.secured ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON ALL TABLES IN SCHEMA evil TO PUBLIC;
CREATE POLICY p ON evil.secured USING (evil.quietly('policy'));
SELECT order_guard.watch('evil.secured', 'status', '{"PAYING": "1 us"}',
	token => 'token') > 0 AS watched;
RESET ROLE;
SELECT count(*) FROM order_guard.scan();
SET ROLE og_evil;
INSERT INTO evil.secured VALUES (1, 'PAYING', 'tok1');
TRUNCATE evil.ran;
RESET ROLE;

SELECT count(*) FROM order_guard.scan();
-- a superuser is not bound by policies, but there is the cast
SELECT count(*) FROM order_guard.outcome('tok1');
SET ROLE og_victim;
SELECT count(*) FROM order_guard.incidents
WHERE relation = 'evil.secured'::regclass;
SELECT count(*) FROM order_guard.stalled
WHERE relation = 'evil.secured'::regclass;
SELECT count(*) > 0 AS known FROM order_guard.outcome('tok1');
RESET ROLE;
-- policies that call nothing strange, but tell what the reader may read
SET ROLE og_evil;
ALTER POLICY p ON evil.secured USING (EXISTS (SELECT FROM evil.members m
	WHERE m.id OPERATOR(evil.===) 1));
SET ROLE og_victim;
SELECT count(*) FROM order_guard.incidents
WHERE relation = 'evil.secured'::regclass;
SELECT count(*) > 0 AS known FROM order_guard.outcome('tok1');
SET ROLE og_evil;
ALTER POLICY p ON evil.secured USING (pg_notify('loot', (SELECT word
	FROM public.og_secret)) IS NOT NULL);
SET ROLE og_victim;
LISTEN loot;
SELECT count(*) FROM order_guard.incidents
WHERE relation = 'evil.secured'::regclass;
SET ROLE og_evil;
ALTER POLICY p ON evil.secured USING ((SELECT word = 'hunter2'
	FROM public.og_secret));
SET ROLE og_victim;
SELECT count(*) FROM order_guard.incidents
WHERE relation = 'evil.secured'::regclass;
-- what does no harm is evaluated
SET ROLE og_evil;
ALTER POLICY p ON evil.secured USING (EXISTS (SELECT FROM evil.members m
	WHERE m.id = secured.id));
SET ROLE og_victim;
SELECT count(*) FROM order_guard.incidents
WHERE relation = 'evil.secured'::regclass;
-- errors and endless work are not the reader's
SET ROLE og_evil;
ALTER POLICY p ON evil.secured USING (1 / (id - 1) = 1);
SET ROLE og_victim;
SELECT count(*) FROM order_guard.incidents
WHERE relation = 'evil.secured'::regclass;
SELECT count(*) > 0 AS known FROM order_guard.outcome('tok1');
SET ROLE og_evil;
ALTER POLICY p ON evil.secured USING ((SELECT count(*)
	FROM generate_series(1, 1000000000) g) > 0);
SET ROLE og_victim;
SELECT count(*) FROM order_guard.incidents
WHERE relation = 'evil.secured'::regclass;
RESET ROLE;
UNLISTEN *;

-- nothing ran but as its owner, and nobody has risen
SELECT who, count(*) FROM evil.ran WHERE who <> 'og_evil' GROUP BY who;
SELECT rolsuper FROM pg_roles WHERE rolname = 'og_evil';
SELECT order_guard.unwatch('evil.secured');
DROP SCHEMA evil CASCADE;
DROP TABLE og_secret;
REVOKE USAGE ON SCHEMA public FROM og_evil;
DROP ROLE og_evil, og_victim;
