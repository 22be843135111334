-- Owners watch their tables, and nobody else does.
\pset format unaligned
\pset tuples_only on
CREATE FUNCTION pg_temp.try(statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n', SQLSTATE || ': ' || SQLERRM, nullif(hint, ''));
END
$$;
CREATE ROLE regress_og_owner;
CREATE ROLE regress_og_member IN ROLE regress_og_owner;
CREATE ROLE regress_og_other;
CREATE SCHEMA wo;
GRANT USAGE, CREATE ON SCHEMA wo TO PUBLIC;
SET ROLE regress_og_owner;
CREATE TABLE wo.orders (id int PRIMARY KEY, status text);
RESET ROLE;
GRANT SELECT, TRIGGER ON wo.orders TO regress_og_other;

SET ROLE regress_og_other;
SELECT pg_temp.try($$SELECT order_guard.watch('wo.orders', 'status')$$);
SELECT count(*) FROM order_guard.suggest();
SELECT pg_temp.try($$SELECT order_guard._lock('wo.orders',
	'SHARE ROW EXCLUSIVE')$$);

SET ROLE regress_og_member;
SELECT status FROM order_guard.suggest();
SELECT order_guard.watch('wo.orders', 'status', '{"NEW": "1 min"}') AS id \gset
RESET ROLE;
SELECT created_by FROM order_guard.watch;

-- who may read the table sees the watch, but cannot touch it
SET ROLE regress_og_other;
SELECT relation, status FROM order_guard.watches;
SELECT pg_temp.try('SELECT * FROM order_guard.watch');
SELECT pg_temp.try($$SELECT order_guard.watch('wo.orders', NULL,
	'{"NEW": "2 min"}')$$);
SELECT pg_temp.try($$SELECT order_guard.unwatch('wo.orders')$$);
SELECT pg_temp.try($$SELECT order_guard.unwatch_all()$$);
SELECT pg_temp.try(
	$$SELECT order_guard._forget_watch('wo.orders'::regclass)$$);
SELECT pg_temp.try($$SELECT order_guard._save_watch(ROW(1, 'wo.orders',
	'{id}', 'status', NULL, '{}', '{}', NULL, NULL, NULL, NULL, '{}', NULL,
	NULL)::order_guard.watch)$$);
SELECT pg_temp.try('SELECT order_guard._write_watch(NULL)');
SELECT pg_temp.try('SELECT order_guard._check_triggers(1)');
SELECT pg_temp.try('SELECT order_guard._repair_triggers(1)');

-- for a table of one's own, what is saved is checked all the same
CREATE TABLE wo.mine (id int PRIMARY KEY, status text);
CREATE FUNCTION pg_temp.save(key text, status text, deadlines text,
	amount text) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.try(format('SELECT order_guard._save_watch(ROW(%s, %L,'
		' %L, %L, %L, %L, ''{}'', NULL, NULL, %L, NULL, ''{}'', NULL,'
		' %L)::order_guard.watch)', current_setting('og.id'), 'wo.mine',
		key, status, '{none}', deadlines, amount, 'postgres'));
$$;
SELECT set_config('og.id', :'id', false) = :'id';
SELECT pg_temp.save('{status}', 'status', '{}', NULL);
SELECT pg_temp.save('{id}', 'state', '{}', NULL);
SELECT pg_temp.save('{id}', '(status), (id)', '{}', NULL);
SELECT pg_temp.save('{id}', 'status', '{"x": "never"}', NULL);
SELECT pg_temp.save('{id}', 'status', NULL, NULL);
SELECT pg_temp.save('{id}', 'status', '{}', '(SELECT 1)');
SELECT pg_temp.save('{id}', 'status', '{}', '(id) -- )');
RESET ROLE;
SELECT relation, status, status_columns, amount, created_by
FROM order_guard.watch ORDER BY id;

-- somebody's imitation of a trigger is in nobody's way
SET ROLE regress_og_other;
CREATE TRIGGER imitation AFTER INSERT ON wo.mine
FOR EACH ROW EXECUTE FUNCTION order_guard.capture(:'id', 'k1', 'id');
RESET ROLE;

-- without SELECT there is nothing to see
REVOKE SELECT ON wo.orders FROM regress_og_other;
SET ROLE regress_og_other;
SELECT relation FROM order_guard.watches;
SELECT order_guard.unwatch('wo.mine');

-- an owner without SELECT still owns
RESET ROLE;
REVOKE ALL ON wo.orders FROM regress_og_owner;
SET ROLE regress_og_member;
SELECT order_guard.watch('wo.orders', NULL, '{"NEW": "2 min"}') = :id;
SELECT order_guard.unwatch_all();
RESET ROLE;
SELECT count(*) FROM order_guard.watch;
SET client_min_messages = warning;
DROP FUNCTION pg_temp.save;
DROP SCHEMA wo CASCADE;
DROP ROLE regress_og_owner, regress_og_member, regress_og_other;
