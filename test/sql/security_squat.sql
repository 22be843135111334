-- A schema order_guard that was there before: CVE-2022-2625.  Its owner, and
-- who may create in it, could put functions there that fit a call of ours
-- better, and have the worker run them.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE og_evil;
CREATE DATABASE og_squat TEMPLATE template0;
SELECT current_database() AS here \gset
\c og_squat
SET client_min_messages = warning;
CREATE SCHEMA order_guard AUTHORIZATION og_evil;
\set VERBOSITY default
CREATE EXTENSION order_guard;
\set VERBOSITY terse
SET ROLE og_evil;
CREATE FUNCTION order_guard._plural(integer, text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'ALTER ROLE og_evil SUPERUSER';
	RETURN '';
END
$$;
-- it must not even get as far as an operator of his
CREATE FUNCTION order_guard.yes(name, text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'ALTER ROLE og_evil SUPERUSER';
	RETURN true;
END
$$;
CREATE OPERATOR order_guard.= (FUNCTION = order_guard.yes, LEFTARG = name,
	RIGHTARG = text);
RESET ROLE;
CREATE EXTENSION order_guard;
-- given to a superuser it is still not empty
ALTER SCHEMA order_guard OWNER TO CURRENT_USER;
CREATE EXTENSION order_guard;
DROP OPERATOR order_guard.= (name, text);
DROP FUNCTION order_guard.yes(name, text);
DROP FUNCTION order_guard._plural(integer, text);
-- empty, but he may create in it
GRANT CREATE ON SCHEMA order_guard TO og_evil;
CREATE EXTENSION order_guard;
REVOKE CREATE ON SCHEMA order_guard FROM og_evil;
-- empty, and a superuser's: as DROP EXTENSION leaves it
CREATE EXTENSION order_guard;
SELECT order_guard.unwatch_all();
DROP EXTENSION order_guard;
CREATE EXTENSION order_guard;
SELECT rolsuper FROM pg_roles WHERE rolname = 'og_evil';
\c :here
DROP DATABASE og_squat;
DROP ROLE og_evil;
