-- What everybody may use.  A new object has to be put here, with thought:
-- does it run with its caller's rights, and show what he may SELECT anyway?
\pset tuples_only on
\pset format unaligned
-- functions that run with other rights than their caller's
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace = 'order_guard'::regnamespace AND p.prosecdef ORDER BY 1;
-- functions whose names mean what the caller's search_path says; those in C
-- pin what they run
SELECT p.oid::regprocedure FROM pg_proc p
JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'order_guard'::regnamespace AND l.lanname <> 'c'
	AND p.prosqlbody IS NULL
	AND NOT coalesce(array_to_string(p.proconfig, ',') LIKE
		'%search_path=pg_catalog, pg_temp%', false)
ORDER BY 1;
-- schema
SELECT privilege_type FROM pg_namespace, aclexplode(nspacl)
WHERE nspname = 'order_guard' AND grantee = 0;
-- tables, views, sequences; columns
SELECT a.privilege_type, c.relkind, c.relname
FROM pg_class c, aclexplode(c.relacl) a
WHERE c.relnamespace = 'order_guard'::regnamespace AND a.grantee = 0
ORDER BY 1, 2, c.relname COLLATE "C";
SELECT attrelid::regclass, attname FROM pg_attribute, aclexplode(attacl) a
WHERE attrelid IN (SELECT oid FROM pg_class
	WHERE relnamespace = 'order_guard'::regnamespace) AND grantee = 0;
-- views that everybody may read filter behind a barrier
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'order_guard'::regnamespace AND c.relkind = 'v'
	AND EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee = 0)
	AND NOT coalesce('security_barrier=true' = ANY (c.reloptions), false)
ORDER BY 1;
-- types
SELECT t.typname
FROM pg_type t, aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) a
WHERE t.typnamespace = 'order_guard'::regnamespace AND a.grantee = 0
	AND t.typtype <> 'b' AND t.typrelid NOT IN (SELECT oid FROM pg_class
		WHERE relkind <> 'c')
ORDER BY 1;
-- functions
SELECT p.oid::regprocedure
FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE p.pronamespace = 'order_guard'::regnamespace AND a.grantee = 0
ORDER BY p.proname COLLATE "C", p.oid::regprocedure::text COLLATE "C";
-- and what members of pg_monitor may use beside that
SELECT a.privilege_type, c.relname FROM pg_class c, aclexplode(c.relacl) a
WHERE c.relnamespace = 'order_guard'::regnamespace
	AND a.grantee = 'pg_monitor'::regrole ORDER BY 2;
SELECT p.oid::regprocedure FROM pg_proc p, aclexplode(p.proacl) a
WHERE p.pronamespace = 'order_guard'::regnamespace
	AND a.grantee = 'pg_monitor'::regrole ORDER BY 1;
-- nobody else has anything
SELECT DISTINCT a.grantee::regrole FROM (
	SELECT relacl FROM pg_class
		WHERE relnamespace = 'order_guard'::regnamespace
	UNION ALL SELECT proacl FROM pg_proc
		WHERE pronamespace = 'order_guard'::regnamespace) o (acl),
	aclexplode(o.acl) a
WHERE a.grantee NOT IN (0, 'pg_monitor'::regrole, (SELECT extowner
	FROM pg_extension WHERE extname = 'order_guard'));
