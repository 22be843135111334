-- cancel_query, terminate and doom are queued for the worker, if they still
-- fit.  Here they only tell: what is queued is queued for good.
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE ROLE og_owner;
CREATE TABLE og_orders (id bigint PRIMARY KEY, status text);
ALTER TABLE og_orders OWNER TO og_owner;
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		hash, summary, evidence)
	SELECT -n, 'uncommitted', 0, 'og_orders'::regclass, 'og_orders',
		gen_random_uuid(), 'open', e
	FROM pg_stat_activity a,
	LATERAL (SELECT jsonb_build_object('pid', a.pid, 'backend_start',
		a.backend_start, 'xact_start', a.xact_start, 'orders_held', 1) AS b)
		AS o,
	LATERAL (VALUES (1, b), (2, b || '{"xact_start": "2000-01-01Z"}'),
		(3, b || '{"backend_start": "2000-01-01Z"}'), (4, b - 'xact_start'),
		(5, b), (6, b || '{"orders_held": 0}')) AS v (n, e)
	WHERE a.pid = pg_backend_pid();
UPDATE order_guard.incident SET kind = 'stalled' WHERE id = -5;
SELECT i, a, r.result, regexp_replace(r.detail, '[0-9]+', 'PID') AS detail
	FROM generate_series(1, 6) i,
		unnest('{cancel_query,doom,terminate}'::text[]) a,
		order_guard.resolve(-i, a, args => '{"dry_run": true}') r
	ORDER BY i, a;
SELECT count(*) FROM order_guard.actions WHERE incident < 0;

-- what does not fit is recorded, with what was found
SELECT result, regexp_replace(detail, '[0-9]+', 'PID') AS detail
	FROM order_guard.resolve(-2, 'terminate');
SELECT a.action, a.result, a.done_at IS NULL AS to_do,
	a.proof #>> '{expected,xact_start}' AS expected,
	(a.proof #>> '{found,xact_start}')::timestamptz = s.xact_start AS found
	FROM order_guard.actions a, pg_stat_activity s
	WHERE a.incident = -2 AND s.pid = pg_backend_pid();

-- a superuser's session is a superuser's to end
SET ROLE og_owner;
SELECT result, detail FROM order_guard.resolve(-1, 'terminate');
SELECT result, detail FROM order_guard.resolve(-1, 'doom');
ROLLBACK;
