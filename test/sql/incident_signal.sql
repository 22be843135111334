-- cancel_query and terminate are queued for the worker, if they still fit.
-- Nothing is committed, so nothing is carried out.
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
		a.backend_start, 'xact_start', a.xact_start) AS b) AS o,
	LATERAL (VALUES (1, b), (2, b || '{"xact_start": "2000-01-01Z"}'),
		(3, b || '{"backend_start": "2000-01-01Z"}'), (4, b - 'xact_start'),
		(5, b)) AS v (n, e)
	WHERE a.pid = pg_backend_pid();
UPDATE order_guard.incident SET kind = 'stalled' WHERE id = -5;
SELECT i, a, r.result, regexp_replace(r.detail, '[0-9]+', 'PID') AS detail
	FROM generate_series(1, 5) i, unnest('{cancel_query,terminate}'::text[]) a,
		order_guard.resolve(-i, a) r ORDER BY i, a;
SELECT result, regexp_replace(detail, '[0-9]+', 'PID') AS detail
	FROM order_guard.resolve(-1, 'terminate', args => '{"dry_run": true}');
SELECT action, result, done_at IS NULL AS to_do FROM order_guard.actions
	WHERE incident = -1 ORDER BY id;
SELECT state FROM order_guard.incidents WHERE id = -1;

-- a superuser's session is a superuser's to end
SET ROLE og_owner;
SELECT result, detail FROM order_guard.resolve(-1, 'terminate');
ROLLBACK;
