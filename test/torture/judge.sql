-- The three sets compared: client logs, table, answers.
\set ON_ERROR_STOP on
CREATE SCHEMA torture;
SET search_path = torture, public, pg_temp;
SET work_mem = '256MB';
CREATE INDEX ON public.orders ((id::text));
CREATE TABLE log (at numeric, token text, event text, detail text);
\copy log FROM 'events.csv' (FORMAT csv)
CREATE TABLE loss (since numeric, until numeric, what text);
\copy loss FROM 'losses.csv' (FORMAT csv)
CREATE TABLE settled (at numeric, token text, outcome text, final boolean);
\copy settled FROM 'settled.csv' (FORMAT csv)

CREATE TABLE answer AS
WITH sent AS (
	SELECT token, min(at) FILTER (WHERE event = 'S') AS at, max(at) AS last,
		bool_or(event = 'I') AS inserted,
		max(detail) FILTER (WHERE event = 'E') AS sqlstate,
		bool_or(event = 'a') AS asynchronous,
		bool_or(event = 'P') AS prepared,
		bool_or(event = 'C') AS heard_commit,
		bool_or(event = 'R') AS heard_rollback
	FROM log GROUP BY token
)
SELECT s.*, o.id IS NOT NULL AS placed, o.id, a.outcome, a.unknown_because,
	a.final, a.basis, a.status, a.reason,
	EXISTS (SELECT FROM loss l
		WHERE s.at <= l.until AND s.last >= l.since) AS in_loss
FROM sent s
LEFT JOIN public.orders o USING (token)
CROSS JOIN LATERAL order_guard.outcome(s.token) a;

CREATE INDEX ON log (token);
ANALYZE;

-- Something else was said than is so, or than was heard.
CREATE VIEW contradicted AS
SELECT a.token, 'heard and there' AS what FROM answer a
WHERE heard_rollback AND placed
UNION ALL
SELECT token, 'heard and not there' FROM answer
WHERE heard_commit AND NOT placed AND NOT asynchronous
UNION ALL
SELECT token, outcome || ' and ' || placed FROM answer
WHERE (outcome = 'committed') <> placed AND outcome <> 'unknown'
UNION ALL
SELECT token, 'still ' || outcome FROM answer
WHERE outcome IN ('in_flight', 'prepared')
UNION ALL
SELECT token, 'two answers' FROM answer GROUP BY token HAVING count(*) > 1
UNION ALL
SELECT s.token, 'said ' || s.outcome || ' and ' || (o.token IS NOT NULL)
FROM settled s LEFT JOIN public.orders o USING (token)
WHERE s.final AND s.outcome IN ('committed', 'settled', 'rolled_back')
	AND (s.outcome = 'committed') <> (o.token IS NOT NULL);

-- It reached the server, and nothing can be said.  Honest are: a loss of the
-- journal that was made at that time, if it is told; an INSERT that was never
-- executed, as far as its client knows; a prepared transaction that others
-- finished.
CREATE VIEW unexplained AS
SELECT token, to_timestamp(at) AS at, to_timestamp(last) AS last,
	unknown_because, reason, basis, (SELECT string_agg(concat(event, ' ',
		detail, ' +', round((l.at - a.at) * 1000, 1), ' ms'), ', '
		ORDER BY l.at) FROM log l WHERE l.token = a.token) AS events
FROM answer a
WHERE outcome = 'unknown'
	AND (placed OR NOT in_loss OR unknown_because = 'no_trace')
	AND NOT (unknown_because = 'prepared_finished' AND prepared)
	AND (placed OR inserted OR coalesce(sqlstate, '57') !~ '^(57|53|08)');

CREATE VIEW false_incident AS
SELECT i.id, i.kind, i.key, i.summary FROM order_guard.incidents i
WHERE i.state = 'open' AND (
	i.kind NOT IN ('vanished', 'unacknowledged')
	OR (i.kind = 'vanished' AND i.relation = 'public.orders'::regclass AND (
		EXISTS (SELECT FROM public.orders o WHERE o.id::text = i.key)
		OR EXISTS (SELECT FROM public.orders o
			WHERE o.token = i.evidence->>'token')
		OR (i.evidence ? 'token' AND NOT EXISTS (SELECT FROM log l
			WHERE l.token = i.evidence->>'token')))));

CREATE VIEW doubled AS
SELECT format('incident %s %s', kind, key) AS what FROM order_guard.incident
WHERE state = 'open' GROUP BY watch, kind, hash, key HAVING count(*) > 1
UNION ALL
SELECT format('attempt at %s, session %s', token, session)
FROM order_guard.attempt WHERE operation = 'I'
GROUP BY watch, token, key, session, xact HAVING count(*) > 1;

\pset footer off
\o /dev/stderr
\t off
SELECT * FROM contradicted LIMIT 20;
SELECT * FROM unexplained ORDER BY at LIMIT 20;
SELECT l.since, l.until, l.because, l.reason, count(*) AS unexplained,
	min(u.at) AS first, max(u.last) AS last
FROM unexplained u
LEFT JOIN order_guard.loss l ON u.at <= l.until AND u.last >= l.since
GROUP BY 1, 2, 3, 4 ORDER BY 6;
SELECT * FROM false_incident LIMIT 20;
SELECT * FROM doubled LIMIT 20;
SELECT outcome, unknown_because, placed, inserted, in_loss, count(*)
FROM answer GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5;
SELECT outcome AS "settle() said", final, count(*) FROM settled
GROUP BY 1, 2 ORDER BY 1, 2;
\o
\t on
\a
SELECT 'orders by client: ' || string_agg(format('%s %s', kind, n), ', '
	ORDER BY kind)
FROM (SELECT regexp_replace(token, '^client\d+_(.*)-\d+$', '\1') AS kind,
	count(*) AS n FROM answer GROUP BY 1) k;
SELECT format('orders sent %s, committed %s, rolled back %s, unexplained %s, '
	'contradicted %s, false incidents %s, doubled %s',
	(SELECT count(DISTINCT token) FROM answer),
	(SELECT count(*) FROM answer WHERE placed),
	(SELECT count(*) FROM answer WHERE NOT placed
		AND outcome IN ('rolled_back', 'settled')),
	(SELECT count(*) FROM unexplained), (SELECT count(*) FROM contradicted),
	(SELECT count(*) FROM false_incident), (SELECT count(*) FROM doubled));
