-- attempts: who sees what did not commit
CREATE ROLE og_agent;
CREATE TABLE tried (id int PRIMARY KEY, status text);
GRANT SELECT ON tried TO og_agent;
SELECT order_guard.watch('tried', 'status', '{"NEW": "1 h"}') AS watch \gset
INSERT INTO order_guard.attempt (watch, relation, key, operation, refused,
	new_status, outcome, cause, sqlstate, reason, constraint_name, session,
	xact, pid, usename, started_at, ended_at)
VALUES (:watch, 'tried'::regclass, '1', 'I', true, 'NEW', 'rolled_back',
	'error', '23505', 'duplicate key value', 'tried_pkey', 0, 1, 4711, 'bob',
	'2026-01-01', '2026-01-02');
SELECT relation, key, old_status, new_status, outcome, sqlstate, reason, token,
	xid, pid, usename, ended_at > started_at AS times, operation, refused,
	cause, constraint_name, rows, verdict
FROM order_guard.attempts WHERE pid = 4711;

SET ROLE og_agent;
SELECT relation, key, outcome FROM order_guard.attempts WHERE pid = 4711;
SELECT count(*) FROM order_guard.attempt;
RESET ROLE;

-- row security: what never committed is for nobody whom it filters
ALTER TABLE tried ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON tried USING (true);
SET ROLE og_agent;
SELECT relation, key, outcome FROM order_guard.attempts WHERE pid = 4711;
RESET ROLE;
ALTER TABLE tried DISABLE ROW LEVEL SECURITY;

REVOKE SELECT ON tried FROM og_agent;
SET ROLE og_agent;
SELECT relation, key, outcome FROM order_guard.attempts WHERE pid = 4711;
RESET ROLE;

-- of a table that is gone only superusers see any
SELECT order_guard.unwatch('tried');
DROP TABLE tried;
SELECT key, outcome FROM order_guard.attempts WHERE pid = 4711;
SET ROLE og_agent;
SELECT key, outcome FROM order_guard.attempts WHERE pid = 4711;
RESET ROLE;
DELETE FROM order_guard.attempt WHERE pid = 4711;
DROP ROLE og_agent;
