\echo Use "CREATE EXTENSION order_guard" to load this file. \quit

/*
 * order_guard: the whole schema, top to bottom.
 *
 *   1  tables
 *   2  the witness: capture, journal, in_flight, attempts, outcome
 *   3  the worker: scan, stat_worker
 *   4  watch, unwatch, suggest, watches
 *   5  incidents and actions
 *   6  privileges
 *
 * Tables are written by the worker and by the functions here only.  People
 * read views, which show what the reader may SELECT anyway.
 */

-- 1  tables ---------------------------------------------------------------

CREATE SEQUENCE order_guard.watch_id;

CREATE TABLE order_guard.watch (
	id			integer PRIMARY KEY DEFAULT nextval('order_guard.watch_id'),
	relation	regclass NOT NULL UNIQUE,
	key			name[] NOT NULL,
	status		text NOT NULL,			-- column, or (expression)
	status_columns name[] NOT NULL,		-- what status depends on
	deadlines	jsonb NOT NULL DEFAULT '{}',
	terminal	text[] NOT NULL DEFAULT '{}',
	since		name,
	token		name,
	amount		text,					-- column, or (expression)
	customer	text,
	options		jsonb NOT NULL DEFAULT '{}',
	created_at	timestamptz NOT NULL DEFAULT now(),
	created_by	text NOT NULL DEFAULT current_user
);
COMMENT ON TABLE order_guard.watch IS
'Configuration: one row per guarded table. Written by watch() and unwatch().';

CREATE TABLE order_guard.watch_state (
	watch		integer PRIMARY KEY REFERENCES order_guard.watch ON DELETE CASCADE,
	sweep		text,					-- why a sweep is wanted; NULL: none
	sweep_leaf	oid,
	sweep_block	bigint NOT NULL DEFAULT 0,
	sweep_started timestamptz,
	last_sweep	timestamptz,			-- end of the last whole sweep
	coverage	text,					-- NULL: complete; else the gap
	last_error	text,
	last_error_at timestamptz
);
COMMENT ON TABLE order_guard.watch_state IS
'What the worker knows about each watch: sweeps, gaps, errors.';

CREATE TABLE order_guard.position (
	nonce		bigint NOT NULL,
	lease		bigint NOT NULL,
	consumed	integer NOT NULL,
	PRIMARY KEY (nonce, lease)
);
COMMENT ON TABLE order_guard.position IS
'How far each journal segment has been consumed, written with the effects.';

CREATE TABLE order_guard.tracked (
	watch		integer NOT NULL,
	hash		uuid NOT NULL,
	key			text NOT NULL,
	status		text NOT NULL,
	since		timestamptz NOT NULL,
	deadline	timestamptz NOT NULL,
	backlog		boolean NOT NULL DEFAULT false,	-- found by watch()'s first sweep
	amount		numeric,
	customer	text,
	PRIMARY KEY (watch, hash)
) WITH (fillfactor = 80);
COMMENT ON TABLE order_guard.tracked IS
'Orders in a status with a deadline: the persisted image of the tracker.';

CREATE SEQUENCE order_guard.attempt_id;

CREATE TABLE order_guard.attempt (
	id			bigint PRIMARY KEY DEFAULT nextval('order_guard.attempt_id'),
	watch		integer NOT NULL,
	relation	oid NOT NULL,
	key			text,
	hash		uuid,
	operation	"char" NOT NULL,		-- I, U, D, T; ? when no row is known
	refused		boolean NOT NULL DEFAULT false,	-- never became a row
	old_status	text,
	new_status	text,
	outcome		text NOT NULL,			-- rolled_back, prepared, unknown
	cause		text,
	sqlstate	text,
	reason		text,
	constraint_name text,
	token		text,
	amount		numeric,
	customer	text,
	rows		bigint NOT NULL DEFAULT 1,
	xid			xid8,
	gid			text,
	session		bigint NOT NULL,
	xact		bigint NOT NULL,
	pid			integer,
	usename		name,
	application_name text,
	client_addr	inet,
	backend_start timestamptz,
	started_at	timestamptz,
	ended_at	timestamptz,
	judge_at	timestamptz,			-- vanished? decided then; NULL: decided
	verdict		text					-- replaced, vanished, off
);
CREATE INDEX attempt_hash ON order_guard.attempt (watch, hash);
CREATE INDEX attempt_token ON order_guard.attempt (token) WHERE token IS NOT NULL;
CREATE INDEX attempt_judge ON order_guard.attempt (judge_at) WHERE judge_at IS NOT NULL;
CREATE INDEX attempt_ended ON order_guard.attempt (ended_at);
CREATE INDEX attempt_session ON order_guard.attempt (session) WHERE judge_at IS NOT NULL;
COMMENT ON TABLE order_guard.attempt IS
'Work on orders that did not simply commit. Written by the worker.';

CREATE SEQUENCE order_guard.incident_id;

CREATE TABLE order_guard.incident (
	id			bigint PRIMARY KEY DEFAULT nextval('order_guard.incident_id'),
	kind		text NOT NULL,
	watch		integer NOT NULL,		-- 0: none
	relation	oid NOT NULL,			-- 0: none
	relation_name text NOT NULL,
	key			text,
	hash		uuid NOT NULL,			-- of the key, or of the group
	status		text,
	severity	text NOT NULL DEFAULT 'warning'
				CHECK (severity IN ('info', 'warning', 'critical')),
	state		text NOT NULL DEFAULT 'open'
				CHECK (state IN ('open', 'cleared', 'resolved')),
	amount		numeric,
	customer	text,
	count		bigint NOT NULL DEFAULT 1,
	opened_at	timestamptz NOT NULL DEFAULT clock_timestamp(),
	last_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	closed_at	timestamptz,
	acknowledged_at timestamptz,
	acknowledged_by text,
	snoozed_until timestamptz,
	summary		text NOT NULL,
	evidence	jsonb NOT NULL DEFAULT '{}',
	resolution	text
);
CREATE UNIQUE INDEX incident_open ON order_guard.incident (watch, kind, hash)
	WHERE state = 'open';
CREATE INDEX incident_hash ON order_guard.incident (watch, hash);
CREATE INDEX incident_closed ON order_guard.incident (closed_at) WHERE state <> 'open';
COMMENT ON TABLE order_guard.incident IS
'Recorded anomalies; at most one open per watch, kind and key.';

CREATE SEQUENCE order_guard.action_id;

CREATE TABLE order_guard.action (
	id			bigint PRIMARY KEY DEFAULT nextval('order_guard.action_id'),
	incident	bigint,
	action		text NOT NULL,
	by			text NOT NULL,
	at			timestamptz NOT NULL DEFAULT clock_timestamp(),
	result		text NOT NULL,			-- done, moved_on, queued, refused, would_do
	detail		text,
	note		text,
	args		jsonb NOT NULL DEFAULT '{}',
	done_at		timestamptz
);
CREATE INDEX action_incident ON order_guard.action (incident);
CREATE INDEX action_queued ON order_guard.action (id) WHERE result = 'queued';
COMMENT ON TABLE order_guard.action IS
'What was done about incidents, by whom, with what result.';

SELECT pg_catalog.pg_extension_config_dump('order_guard.watch', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.watch_id', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.incident', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.incident_id', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.action', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.action_id', '');

-- 2  the witness ----------------------------------------------------------

-- 3  the worker -----------------------------------------------------------

-- 4  watch ----------------------------------------------------------------

-- 5  incidents and actions ------------------------------------------------

CREATE FUNCTION order_guard._may_see(relation oid) RETURNS boolean
	LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'og_may_see';
CREATE FUNCTION order_guard._may_act(relation oid) RETURNS boolean
	LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'og_may_act';
CREATE FUNCTION order_guard._key_condition(watch integer, key text)
	RETURNS text
	LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'og_key_condition_text';
CREATE FUNCTION order_guard._row_query(relation regclass, key text)
	RETURNS text
	LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'og_key_row_query';

-- Text for incidents; the worker calls these.

CREATE FUNCTION order_guard._relation_name(relation oid) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce((SELECT quote_ident(n.nspname) || '.' ||
			quote_ident(c.relname)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = _relation_name.relation),
		nullif(_relation_name.relation::text, '0'), '');
END;

CREATE FUNCTION order_guard._printable(value text) RETURNS text
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT regexp_replace(value, '[[:cntrl:]]', ' ', 'g');
END;

CREATE FUNCTION order_guard._storm_summary(relation_name text, kind text,
		count bigint, amount numeric, keys text) RETURNS text
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT to_char(count, 'FM9,999,999,999,999,999,990') || ' orders' ||
		coalesce(' of ' || nullif(relation_name, ''), '') || ' ' ||
		CASE kind
			WHEN 'stalled' THEN 'stopped moving'
			WHEN 'uncommitted' THEN 'are held by open transactions'
			WHEN 'prepared' THEN 'are held by prepared transactions'
			WHEN 'vanished' THEN 'vanished'
			WHEN 'deleted' THEN 'were deleted unfinished'
			ELSE 'are concerned' END ||
		' at the same time (' || kind ||
		coalesce(', total ' || to_char(amount,
			'FM999,999,999,999,999,990.00999999'), '') || ')' ||
		coalesce(': first ' || keys, '');
END;

CREATE VIEW order_guard.incidents WITH (security_barrier) AS
	SELECT i.id, i.kind, i.relation::regclass AS relation, i.relation_name,
		i.key, i.status, i.severity, i.state, i.amount, i.customer, i.count,
		i.opened_at, i.last_seen_at, i.closed_at, i.acknowledged_at,
		i.acknowledged_by, i.snoozed_until, i.summary, i.evidence,
		i.resolution
	FROM order_guard.incident i
	WHERE order_guard._may_see(i.relation);
COMMENT ON VIEW order_guard.incidents IS
'Anomalies of tables that the reader may SELECT. Those of no table or of a '
'dropped one: to members of pg_monitor. Under row security: none.';

CREATE VIEW order_guard.actions WITH (security_barrier) AS
	SELECT a.id, a.incident, a.action, a.by, a.at, a.result, a.detail,
		a.note, a.args, a.done_at
	FROM order_guard.action a
		LEFT JOIN order_guard.incident i ON i.id = a.incident
	WHERE order_guard._may_see(coalesce(i.relation, 0));
COMMENT ON VIEW order_guard.actions IS
'What was done about incidents; an action is visible to whoever sees the '
'incident.';

CREATE VIEW order_guard.stalled WITH (security_barrier) AS
	SELECT w.relation, t.key, t.status, t.since,
		(w.deadlines ->> t.status)::interval AS allowed, t.deadline,
		now() - t.deadline AS overdue, t.amount, t.customer
	FROM order_guard.tracked t
		JOIN order_guard.watch w ON w.id = t.watch
	WHERE t.deadline < now() AND order_guard._may_see(w.relation);
COMMENT ON VIEW order_guard.stalled IS
'Orders that are past the deadline of their status, of tables that the '
'reader may SELECT.';

CREATE FUNCTION order_guard.acknowledge(incident bigint,
		note text DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'og_acknowledge';
COMMENT ON FUNCTION order_guard.acknowledge(bigint, text) IS
'Notes that somebody takes care of an incident. For the owner of its table.';

CREATE FUNCTION order_guard.snooze(incident bigint, until timestamptz,
		note text DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'og_snooze';
COMMENT ON FUNCTION order_guard.snooze(bigint, timestamptz, text) IS
'Puts an open incident off until a time. For the owner of its table.';

/*
 * resolve() and resolve_all() set no search_path of their own: moving an
 * order fires its table's triggers, which must see the caller's.  Everything
 * else in them is C and pins what it runs.
 */
CREATE FUNCTION order_guard.resolve(incident bigint, action text,
		note text DEFAULT NULL, args jsonb DEFAULT '{}')
	RETURNS TABLE (action_id bigint, result text, detail text)
	LANGUAGE C ROWS 1 AS 'MODULE_PATHNAME', 'og_resolve';
COMMENT ON FUNCTION order_guard.resolve(bigint, text, text, jsonb) IS
'Acts on an open incident: close, move (args {"to": status}), cancel_query, '
'terminate. {"dry_run": true} only tells. For the owner of its table.';

CREATE FUNCTION order_guard.resolve_all(kind text, action text,
		relation regclass DEFAULT NULL, note text DEFAULT NULL,
		args jsonb DEFAULT '{}', max integer DEFAULT 100,
		dry_run boolean DEFAULT true)
	RETURNS TABLE (incident bigint, action_id bigint, result text,
		detail text)
	LANGUAGE C ROWS 100 AS 'MODULE_PATHNAME', 'og_resolve_all';
COMMENT ON FUNCTION order_guard.resolve_all(text, text, regclass, text,
	jsonb, integer, boolean) IS
'Acts on open incidents of a kind, oldest first, each as resolve() would; '
'by default it only tells what it would do.';

-- Everything here is read with the caller's rights.
CREATE FUNCTION order_guard.explain(relation regclass, key text)
	RETURNS TABLE (at timestamptz, event text, detail jsonb)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	row_now jsonb;
BEGIN
	EXECUTE order_guard._row_query(relation, key) INTO row_now;
	RETURN QUERY
	SELECT * FROM (
		SELECT coalesce(a.ended_at, a.started_at), 'attempt',
			jsonb_strip_nulls(jsonb_build_object('outcome', a.outcome,
				'old_status', a.old_status, 'new_status', a.new_status,
				'sqlstate', a.sqlstate, 'reason', a.reason,
				'token', a.token, 'usename', a.usename, 'pid', a.pid,
				'application_name', a.application_name,
				'started_at', a.started_at))
		FROM order_guard.attempts a
		WHERE a.relation::oid = explain.relation::oid
			AND a.key = explain.key
		UNION ALL
		SELECT i.opened_at, 'incident opened',
			jsonb_strip_nulls(jsonb_build_object('incident', i.id,
				'kind', i.kind, 'severity', i.severity,
				'status', i.status, 'summary', i.summary))
		FROM order_guard.incidents i
		WHERE i.relation = explain.relation AND i.key = explain.key
		UNION ALL
		SELECT i.closed_at, 'incident ' || i.state,
			jsonb_strip_nulls(jsonb_build_object('incident', i.id,
				'kind', i.kind, 'resolution', i.resolution))
		FROM order_guard.incidents i
		WHERE i.relation = explain.relation AND i.key = explain.key
			AND i.state <> 'open'
		UNION ALL
		SELECT c.at, 'action',
			jsonb_strip_nulls(jsonb_build_object('incident', c.incident,
				'action', c.action, 'by', c.by, 'result', c.result,
				'detail', c.detail, 'note', c.note))
		FROM order_guard.actions c
			JOIN order_guard.incidents i ON i.id = c.incident
		WHERE i.relation = explain.relation AND i.key = explain.key
		UNION ALL
		SELECT clock_timestamp(), 'row',
			coalesce(row_now, jsonb_build_object('found', false))
	) AS e (at, event, detail)
	ORDER BY e.at, e.event;
END
$$;
COMMENT ON FUNCTION order_guard.explain(regclass, text) IS
'All that is known about one order, in the order of time; the last row is '
'what it is now. As the caller, who needs SELECT on the table.';

-- 6  privileges -----------------------------------------------------------

REVOKE ALL ON ALL TABLES IN SCHEMA order_guard FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA order_guard FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA order_guard FROM PUBLIC;

GRANT USAGE ON SCHEMA order_guard TO PUBLIC;
-- these show what the reader may SELECT anyway
GRANT SELECT ON order_guard.incidents, order_guard.actions,
	order_guard.stalled TO PUBLIC;
-- these check the caller's rights themselves
GRANT EXECUTE ON FUNCTION
	order_guard._may_see(oid),
	order_guard._may_act(oid),
	order_guard._key_condition(integer, text),
	order_guard._row_query(regclass, text),
	order_guard.acknowledge(bigint, text),
	order_guard.snooze(bigint, timestamptz, text),
	order_guard.resolve(bigint, text, text, jsonb),
	order_guard.resolve_all(text, text, regclass, text, jsonb, integer,
		boolean),
	order_guard.explain(regclass, text)
	TO PUBLIC;
