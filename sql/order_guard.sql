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

CREATE FUNCTION order_guard.capture() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'og_capture_trigger';
COMMENT ON FUNCTION order_guard.capture() IS
'Notes a row in the journal. Its triggers are made by watch().';

CREATE FUNCTION order_guard._itemising(watch integer) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'og_capture_itemising';
COMMENT ON FUNCTION order_guard._itemising(integer) IS
'Condition of the triggers: is the row noted by itself, or only counted?';

CREATE FUNCTION order_guard._in_flight(
	OUT session bigint, OUT xact bigint, OUT watch integer, OUT relation oid,
	OUT key text, OUT hash uuid, OUT operation text, OUT old_status text,
	OUT new_status text, OUT token text, OUT amount text, OUT customer text,
	OUT part text, OUT pid integer, OUT backend_start timestamptz,
	OUT xid xid8, OUT xact_start timestamptz, OUT at timestamptz,
	OUT role oid, OUT open_threshold integer, OUT rows bigint)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'og_views_in_flight';
COMMENT ON FUNCTION order_guard._in_flight() IS
'Orders of open transactions that the caller may see, from shared memory.';

CREATE FUNCTION order_guard._in_flight_suspect(
	OUT session bigint, OUT xact bigint, OUT watch integer, OUT relation oid,
	OUT key text, OUT hash uuid, OUT operation text, OUT old_status text,
	OUT new_status text, OUT token text, OUT amount text, OUT customer text,
	OUT part text, OUT pid integer, OUT backend_start timestamptz,
	OUT xid xid8, OUT xact_start timestamptz, OUT at timestamptz,
	OUT role oid, OUT open_threshold integer, OUT rows bigint)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'og_views_in_flight_suspect';
COMMENT ON FUNCTION order_guard._in_flight_suspect() IS
'As _in_flight(), of transactions past their threshold or waiting for a lock.';

CREATE FUNCTION order_guard._waiting(
	OUT pid integer, OUT watch integer, OUT relation oid, OUT key text,
	OUT hash uuid, OUT operation text, OUT status text, OUT token text,
	OUT amount text, OUT customer text, OUT wait_start timestamptz)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'og_waiting_backends';
COMMENT ON FUNCTION order_guard._waiting() IS
'Backends that wait for the lock of a row of a watched table, or of a table.';

CREATE FUNCTION order_guard._recent(
	OUT watch integer, OUT relation oid, OUT key text, OUT hash uuid,
	OUT operation text, OUT refused boolean, OUT old_status text,
	OUT new_status text, OUT token text, OUT outcome text, OUT open boolean,
	OUT cause text, OUT sqlstate text, OUT reason text,
	OUT constraint_name text, OUT xid xid8, OUT gid text, OUT pid integer,
	OUT started_at timestamptz, OUT ended_at timestamptz)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'og_recent_attempts';
COMMENT ON FUNCTION order_guard._recent() IS
'Attempts that the worker has not recorded yet, from shared memory.';

CREATE FUNCTION order_guard._committed(xmin xid) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'og_recent_committed';
COMMENT ON FUNCTION order_guard._committed(xid) IS
'Is a visible row another transaction''s? Its commit then is on disk, too.';

CREATE FUNCTION order_guard._may_see_uncommitted(relation oid)
RETURNS boolean LANGUAGE c VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'og_views_may_see_uncommitted';
COMMENT ON FUNCTION order_guard._may_see_uncommitted(oid) IS
'May the caller see rows of this table that did not commit?';

CREATE FUNCTION order_guard._key_hash(relation oid, columns name[], key text)
RETURNS uuid LANGUAGE c VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'og_keytext_hash';
COMMENT ON FUNCTION order_guard._key_hash(oid, name[], text) IS
'The identity that capture gives to a key.';

CREATE FUNCTION order_guard._column_condition(relation oid, "column" name,
	value text)
RETURNS text LANGUAGE c VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'og_keytext_condition';
COMMENT ON FUNCTION order_guard._column_condition(oid, name, text) IS
'A condition for a WHERE clause: this column has this value.';

CREATE FUNCTION order_guard._number(value text) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
	SELECT CASE WHEN $1 ~
		'^[ \t]*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?[ \t]*$'
		THEN $1::numeric END;
$$;
COMMENT ON FUNCTION order_guard._number(text) IS
'An amount, or NULL if the text is no number.';

-- what outcome() and others need to know of watches the caller may read
CREATE VIEW order_guard._visible_watch WITH (security_barrier) AS
SELECT w.id, w.relation, w.key, w.status, w.token, w.created_at, s.sweep,
	s.coverage
FROM order_guard.watch w
LEFT JOIN order_guard.watch_state s ON s.watch = w.id
WHERE has_table_privilege(w.relation, 'SELECT');

CREATE VIEW order_guard._visible_tracked WITH (security_barrier) AS
SELECT t.watch, t.hash, t.status
FROM order_guard.tracked t
JOIN order_guard.watch w ON w.id = t.watch
WHERE order_guard._may_see_uncommitted(w.relation);

CREATE VIEW order_guard._waiter WITH (security_barrier) AS
SELECT x.pid, w.id AS watch, w.relation, x.key, x.hash, x.operation,
	x.status, x.token, x.amount, x.customer, x.wait_start
FROM order_guard._waiting() x
JOIN order_guard.watch w ON w.id = x.watch OR (x.watch IS NULL
	AND (w.relation = x.relation OR w.relation IN (
		SELECT p.relid FROM pg_partition_ancestors(x.relation) p)));

CREATE FUNCTION order_guard._key_hash(relation regclass, key text)
RETURNS uuid LANGUAGE sql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp AS $$
	SELECT order_guard._key_hash(w.relation, w.key, $2)
	FROM order_guard._visible_watch w WHERE w.relation = $1;
$$;
COMMENT ON FUNCTION order_guard._key_hash(regclass, text) IS
'The identity of a key of a watched table; NULL if that is not watched.';

CREATE VIEW order_guard.in_flight WITH (security_barrier) AS
WITH work AS MATERIALIZED (
	SELECT coalesce(w.relation, f.relation::regclass) AS relation, f.key,
		f.operation, f.old_status, f.new_status, f.token, f.amount,
		f.customer, f.part, f.pid, f.backend_start, f.xact_start, f.rows
	FROM order_guard._in_flight() f
	LEFT JOIN order_guard.watch w ON w.id = f.watch
	UNION ALL
	SELECT x.relation, x.key, x.operation, x.status, NULL, x.token, x.amount,
		x.customer, 'waits', x.pid, NULL, NULL, 1
	FROM order_guard._waiter x
), backend AS MATERIALIZED (
	-- by the rule of pg_stat_activity, but as of now, not of the beginning
	-- of the caller's transaction: _in_flight() has seen to that
	SELECT a.pid, a.state, pg_get_userbyid(a.usesysid) AS usename,
		a.application_name, a.client_addr, a.backend_start, a.xact_start,
		a.state_change, a.wait_event_type, a.wait_event, a.query,
		-- expensive; what is hidden from the caller is asked all the same
		CASE WHEN a.wait_event_type = 'Lock' OR a.state IS NULL
			THEN nullif(pg_blocking_pids(a.pid), '{}') END AS blocked_by
	FROM (SELECT DISTINCT k.pid FROM work k) p
	CROSS JOIN LATERAL pg_stat_get_activity(p.pid) a
)
SELECT k.relation, k.key,
	CASE k.operation WHEN 'I' THEN 'INSERT' WHEN 'U' THEN 'UPDATE'
		WHEN 'D' THEN 'DELETE' WHEN 'T' THEN 'TRUNCATE' END AS operation,
	k.old_status, k.new_status, k.token,
	order_guard._number(k.amount) AS amount, k.customer, k.part, b.state,
	k.pid, NULL::text AS gid, b.usename, b.application_name, b.client_addr,
	coalesce(k.backend_start, b.backend_start) AS backend_start,
	coalesce(k.xact_start, b.xact_start) AS xact_start, b.state_change,
	clock_timestamp() - coalesce(k.xact_start, b.xact_start) AS age,
	b.wait_event_type, b.wait_event, b.blocked_by, b.query, k.rows
FROM work k
LEFT JOIN backend b ON b.pid = k.pid;
COMMENT ON VIEW order_guard.in_flight IS
'Orders of open transactions: one row per order and transaction, live.';

CREATE VIEW order_guard.attempts WITH (security_barrier) AS
SELECT coalesce(w.relation, a.relation::regclass) AS relation, a.key,
	a.old_status, a.new_status, a.outcome, a.sqlstate, a.reason, a.token,
	a.xid, a.pid, a.usename, a.application_name, a.client_addr, a.started_at,
	a.ended_at,
	CASE a.operation WHEN 'I' THEN 'INSERT' WHEN 'U' THEN 'UPDATE'
		WHEN 'D' THEN 'DELETE' WHEN 'T' THEN 'TRUNCATE' END AS operation,
	a.refused, a.cause, a.constraint_name, a.amount, a.customer, a.rows,
	a.gid, a.verdict, a.id, a.watch, a.hash
FROM order_guard.attempt a
LEFT JOIN order_guard.watch w ON w.id = a.watch
WHERE order_guard._may_see_uncommitted(coalesce(w.relation, a.relation));
COMMENT ON VIEW order_guard.attempts IS
'Work on orders that did not simply commit: what, who, when and why.';

-- outcome: what is known of one order, from each witness

CREATE TYPE order_guard._trace AS (
	outcome text, operation text, key text, status text, sqlstate text,
	reason text, basis text, unknown_because text, pid integer, gid text,
	xid xid8, at timestamptz, final boolean
);

CREATE FUNCTION order_guard._journal_trace(w order_guard._visible_watch,
	hash uuid, token text)
RETURNS order_guard._trace LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t order_guard._trace;
BEGIN
	-- what is open now, else what was undone last
	SELECT s.outcome, s.operation, s.key, s.status, s.sqlstate, s.reason,
		'journal', NULL, s.pid, s.gid, s.xid, s.at, s.final
	INTO t
	FROM (
		SELECT 1 AS rank, 'in_flight' AS outcome, false AS final, f.operation, f.key,
			coalesce(f.new_status, f.old_status) AS status,
			NULL AS sqlstate, NULL AS reason, f.pid, NULL AS gid, f.xid,
			f.at, f.watch, f.hash, f.token
		FROM order_guard._in_flight() f WHERE f.part <> 'refused'
		UNION ALL
		SELECT CASE r.outcome WHEN 'prepared' THEN 2 ELSE 3 END, r.outcome,
			NOT r.open, r.operation, r.key, r.new_status, r.sqlstate, r.reason, r.pid,
			r.gid, r.xid, r.ended_at, r.watch, r.hash, r.token
		FROM order_guard._recent() r
	) s
	WHERE s.watch = w.id AND (s.hash = $2 OR s.token = $3)
		AND (s.at < w.created_at) IS NOT TRUE
	ORDER BY s.rank, s.at DESC, s.operation = 'I' DESC LIMIT 1;
	RETURN t;
END
$$;
COMMENT ON FUNCTION order_guard._journal_trace(order_guard._visible_watch,
	uuid, text) IS
'What the journal knows of an order, by key or token.';

CREATE FUNCTION order_guard._attempt_trace(w order_guard._visible_watch,
	hash uuid, token text)
RETURNS order_guard._trace LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t order_guard._trace;
BEGIN
	SELECT a.outcome, left(a.operation, 1), a.key, a.new_status, a.sqlstate,
		a.reason, 'attempt', NULL, a.pid, a.gid, a.xid, a.ended_at, true
	INTO t
	FROM order_guard.attempts a
	WHERE a.watch = w.id AND (a.hash = $2 OR a.token = $3)
		AND (a.ended_at < w.created_at) IS NOT TRUE
	ORDER BY a.ended_at DESC NULLS LAST, a.operation = 'INSERT' DESC,
		a.id DESC LIMIT 1;
	RETURN t;
END
$$;
COMMENT ON FUNCTION order_guard._attempt_trace(order_guard._visible_watch,
	uuid, text) IS
'The last recorded attempt at an order, by key or token.';

CREATE FUNCTION order_guard._row_trace(w order_guard._visible_watch,
	condition text)
RETURNS order_guard._trace LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
	t order_guard._trace;
	columns text;
	-- an expression is code of the table's owner, not for the caller to run
	plain boolean := w.status NOT LIKE '(%';
	xmin xid;
BEGIN
	SELECT string_agg(format('t.%I', c.name), ', ' ORDER BY c.n)
	INTO columns FROM unnest(w.key) WITH ORDINALITY c (name, n);
	IF cardinality(w.key) > 1 THEN
		columns := format('ROW(%s)', columns);
	END IF;
	EXECUTE format('SELECT (%s)::text, %s, t.xmin FROM %s t WHERE %s LIMIT 1',
		columns, CASE WHEN plain THEN format('t.%I::text', w.status)
			ELSE 'NULL' END, w.relation, condition)
	INTO t.key, t.status, xmin;
	IF xmin IS NULL THEN
		RETURN NULL;
	END IF;
	t.basis := 'row';
	t.final := order_guard._committed(xmin);
	t.outcome := CASE WHEN t.final THEN 'committed' ELSE 'in_flight' END;
	IF NOT t.final THEN
		t.pid := pg_backend_pid();
	ELSIF current_setting('track_commit_timestamp')::boolean THEN
		t.at := pg_xact_commit_timestamp(xmin);
	END IF;
	IF NOT plain THEN
		SELECT v.status INTO t.status FROM order_guard._visible_tracked v
		WHERE v.watch = w.id
			AND v.hash = order_guard._key_hash(w.relation, w.key, t.key);
	END IF;
	RETURN t;
EXCEPTION WHEN lock_not_available THEN
	t.outcome := 'unknown';
	t.unknown_because := 'locked';
	RETURN t;
END
$$;
COMMENT ON FUNCTION order_guard._row_trace(order_guard._visible_watch, text)
IS 'What the table says of an order, as the caller sees it now.';

CREATE FUNCTION order_guard._unknown(because text)
RETURNS order_guard._trace LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'unknown', NULL, NULL, NULL, NULL, NULL, NULL, $1,
		NULL::integer, NULL, NULL::xid8, NULL::timestamptz, false;
$$;
COMMENT ON FUNCTION order_guard._unknown(text) IS
'The answer that nothing can be said, with the reason.';

CREATE FUNCTION order_guard._no_trace(w order_guard._visible_watch)
RETURNS text LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE
		WHEN w.coverage ILIKE '%journal%' OR w.sweep ILIKE '%journal%'
			THEN 'journal_lost'
		WHEN w.sweep IS NOT NULL THEN 'not_swept'
		WHEN w.coverage IS NOT NULL THEN 'coverage_gap'
		WHEN NOT current_setting('order_guard.enabled')::boolean
			THEN 'disabled'
		ELSE 'no_trace' END;
$$;
COMMENT ON FUNCTION order_guard._no_trace(order_guard._visible_watch) IS
'Why nothing is known of an order that is not in its table.';

CREATE FUNCTION order_guard._judge_absent(w order_guard._visible_watch,
	t order_guard._trace)
RETURNS order_guard._trace LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	because text := order_guard._no_trace(w);
BEGIN
	IF row_security_active(w.relation) THEN
		RETURN order_guard._unknown('not_visible_to_you');
	ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
		RETURN order_guard._unknown('old_snapshot');
	ELSIF t.outcome IS NULL THEN
		RETURN order_guard._unknown(because);
	ELSIF t.outcome = 'rolled_back' AND t.operation IN ('U', 'D') THEN
		RETURN order_guard._unknown('row_gone');
	ELSIF t.outcome = 'rolled_back' THEN
		t.final := t.final AND because = 'no_trace';
	ELSIF t.outcome = 'prepared' AND NOT EXISTS (
		SELECT FROM pg_prepared_xacts p WHERE p.gid = t.gid) THEN
		RETURN order_guard._unknown('prepared_finished');
	ELSIF t.outcome <> 'prepared' THEN
		t.outcome := 'unknown';
		t.unknown_because := CASE WHEN t.basis = 'journal'
			THEN 'not_judged_yet' ELSE 'journal_lost' END;
	END IF;
	t.final := t.final AND t.outcome = 'rolled_back';
	RETURN t;
END
$$;
COMMENT ON FUNCTION order_guard._judge_absent(order_guard._visible_watch,
	order_guard._trace) IS
'The answer when the caller''s fresh look finds no row.';

CREATE FUNCTION order_guard._judge(w order_guard._visible_watch, hash uuid,
	token text, condition text)
RETURNS order_guard._trace LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	-- in the order in which an order's work moves on, so that none slips by
	journal order_guard._trace :=
		order_guard._journal_trace(w, hash, token);
	attempt order_guard._trace :=
		order_guard._attempt_trace(w, hash, token);
	found_row order_guard._trace := order_guard._row_trace(w, condition);
BEGIN
	IF found_row.outcome = 'committed' THEN
		IF journal.outcome IN ('in_flight', 'prepared')
			AND journal.operation <> 'I' THEN
			found_row.final := false;
			found_row.pid := journal.pid;
			found_row.gid := journal.gid;
		END IF;
		RETURN found_row;
	ELSIF journal.outcome = 'in_flight' THEN
		RETURN journal;
	ELSIF found_row.outcome IS NOT NULL THEN
		RETURN found_row;
	ELSIF journal.outcome IS NOT NULL THEN
		RETURN order_guard._judge_absent(w, journal);
	END IF;
	RETURN order_guard._judge_absent(w, attempt);
END
$$;
COMMENT ON FUNCTION order_guard._judge(order_guard._visible_watch, uuid,
	text, text) IS
'The outcome of one order of a watched table.';

CREATE FUNCTION order_guard._outcome_message(t order_guard._trace)
RETURNS text LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE
		WHEN t.outcome = 'committed' AND t.final
			THEN 'The order has been placed.'
		WHEN t.outcome = 'committed' THEN 'The order has been placed; a '
			'change to it is being processed right now.'
		WHEN t.outcome = 'in_flight' AND t.operation IN ('U', 'D')
			THEN 'A change to the order is being processed right now.'
		WHEN t.outcome = 'in_flight'
			THEN 'The order is being processed and has not been placed yet.'
		WHEN t.outcome = 'prepared'
			THEN 'The order awaits its final confirmation and has not been '
				'placed yet.'
		WHEN t.outcome = 'rolled_back'
			THEN 'The order has not been placed and nothing of it was kept.'
		WHEN t.unknown_because = 'row_gone'
			THEN 'The order does not exist any more.'
		WHEN t.unknown_because = 'no_trace'
			THEN 'No trace of such an order was found.'
		ELSE 'Whether the order has been placed cannot be said at the '
			'moment; please do not place it again yet.' END;
$$;
COMMENT ON FUNCTION order_guard._outcome_message(order_guard._trace) IS
'An outcome as one may tell it to a customer.';

CREATE FUNCTION order_guard._watch_of(relation regclass)
RETURNS order_guard._visible_watch LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	w order_guard._visible_watch;
BEGIN
	IF has_table_privilege(relation, 'SELECT') IS NOT TRUE THEN
		RAISE insufficient_privilege USING
			MESSAGE = format('permission denied for table %s', relation);
	END IF;
	SELECT v.* INTO w FROM order_guard._visible_watch v
	WHERE v.relation = _watch_of.relation OR v.relation IN (
		SELECT p.relid FROM pg_partition_ancestors(_watch_of.relation) p);
	IF w.id IS NULL THEN
		RAISE undefined_object USING
			MESSAGE = format('%s is not watched', relation),
			HINT = 'Use order_guard.watch() to have a table watched.';
	END IF;
	RETURN w;
END
$$;
COMMENT ON FUNCTION order_guard._watch_of(regclass) IS
'The watch of a table or partition that the caller may SELECT.';

CREATE FUNCTION order_guard._checked_hash(w order_guard._visible_watch,
	key text)
RETURNS uuid LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN order_guard._key_hash(w.relation, w.key, key);
EXCEPTION WHEN data_exception THEN
	RAISE invalid_text_representation USING
		MESSAGE = format('"%s" is no key of %s', key, w.relation),
		DETAIL = upper(left(SQLERRM, 1)) || substr(SQLERRM, 2) || '.',
		HINT = format('The key is (%s).', array_to_string(w.key, ', '));
END
$$;
COMMENT ON FUNCTION order_guard._checked_hash(order_guard._visible_watch,
	text) IS
'The identity of a key; 22P02 if the text is none.';

CREATE TYPE order_guard._answer AS (
	outcome text, relation regclass, key text, status text, sqlstate text,
	reason text, basis text, unknown_because text,
	pid integer, gid text, xid xid8, at timestamptz, final boolean,
	message text
);

CREATE FUNCTION order_guard._answer(w order_guard._visible_watch,
	t order_guard._trace)
RETURNS order_guard._answer LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT t.outcome, w.relation, t.key, t.status, t.sqlstate, t.reason,
		t.basis, t.unknown_because, t.pid, t.gid, t.xid, t.at, t.final,
		order_guard._outcome_message(t);
$$;
COMMENT ON FUNCTION order_guard._answer(order_guard._visible_watch,
	order_guard._trace) IS
'A row of outcome().';

CREATE FUNCTION order_guard._outcome(target regclass, target_key text)
RETURNS order_guard._answer LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	w order_guard._visible_watch := order_guard._watch_of(target);
	hash uuid := order_guard._checked_hash(w, target_key);
	t order_guard._trace := order_guard._judge(w, hash, NULL,
		order_guard._key_condition(w.id, target_key));
BEGIN
	t.key := coalesce(t.key, target_key);
	RETURN order_guard._answer(w, t);
END
$$;
COMMENT ON FUNCTION order_guard._outcome(regclass, text) IS
'See outcome(relation, key).';

-- in SQL, where a parameter and a column of the result may share a name
CREATE FUNCTION order_guard.outcome(relation regclass, key text)
RETURNS TABLE (outcome text, relation regclass, key text, status text,
	sqlstate text, reason text, basis text, unknown_because text,
	pid integer, gid text, xid xid8, at timestamptz, final boolean,
	message text)
LANGUAGE sql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp AS $$
	SELECT o.* FROM order_guard._outcome($1, $2) o;
$$;
COMMENT ON FUNCTION order_guard.outcome(regclass, text) IS
'What became of an order, by its key. "final": this answer does not change; '
'after rolled_back a new attempt still may place the order.';

CREATE FUNCTION order_guard._token_trace(w order_guard._visible_watch,
	token text)
RETURNS order_guard._trace LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN order_guard._judge(w, NULL, token,
		order_guard._column_condition(w.relation, w.token, token));
EXCEPTION WHEN data_exception THEN
	-- this table's tokens are of another type
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION order_guard._token_trace(order_guard._visible_watch,
	text) IS
'The outcome of a token in one watched table.';

CREATE FUNCTION order_guard._outcome(target_token text)
RETURNS SETOF order_guard._answer LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	w order_guard._visible_watch;
	t order_guard._trace;
	because text := 'no_token_column';
	found_any boolean := false;
BEGIN
	FOR w IN SELECT v.* FROM order_guard._visible_watch v
		WHERE v.token IS NOT NULL ORDER BY v.id
	LOOP
		t := order_guard._token_trace(w, target_token);
		IF t.outcome <> 'unknown' OR t.unknown_because = 'row_gone' THEN
			found_any := true;
			RETURN NEXT order_guard._answer(w, t);
		ELSIF because IN ('no_token_column', 'no_trace') THEN
			because := coalesce(t.unknown_because, 'no_trace');
		END IF;
	END LOOP;
	IF NOT found_any THEN
		RETURN NEXT order_guard._answer(NULL, order_guard._unknown(because));
	END IF;
END
$$;
COMMENT ON FUNCTION order_guard._outcome(text) IS
'See outcome(token).';

CREATE FUNCTION order_guard.outcome(token text)
RETURNS TABLE (outcome text, relation regclass, key text, status text,
	sqlstate text, reason text, basis text, unknown_because text,
	pid integer, gid text, xid xid8, at timestamptz, final boolean,
	message text)
LANGUAGE sql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp AS $$
	SELECT o.* FROM order_guard._outcome($1) o;
$$;
COMMENT ON FUNCTION order_guard.outcome(text) IS
'What became of the orders with a token: a row for each table that knows it, '
'else one that says why nothing is known.';

-- orders that are held or waited for past the threshold, for the worker

CREATE FUNCTION order_guard._root_blocker(pid integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	todo integer[] := ARRAY[pid];
	seen integer[] := '{}';
	here integer;
	blockers integer[];
BEGIN
	-- depth first to one that waits for nobody; 0 is a prepared transaction
	WHILE cardinality(todo) > 0 LOOP
		here := todo[1];
		blockers := pg_blocking_pids(here);
		IF blockers = '{}' THEN
			RETURN here;
		END IF;
		seen := seen || here;
		todo := ARRAY(SELECT b FROM unnest(blockers || todo[2:]) b
			WHERE b <> ALL (seen));
	END LOOP;
	RETURN (SELECT min(b) FROM unnest(seen) b);	-- they block one another
END
$$;
COMMENT ON FUNCTION order_guard._root_blocker(integer) IS
'Whom a backend waits for in the end; itself if it does not wait.';

CREATE TYPE order_guard._stuck_order AS (
	root integer, pid integer, watch integer, relation regclass, key text,
	old_status text, new_status text, amount numeric, customer text,
	rows bigint, xact_start timestamptz, overdue boolean
);

CREATE FUNCTION order_guard._stuck()
RETURNS SETOF order_guard._stuck_order LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY
	WITH suspect AS MATERIALIZED (
		SELECT f.pid, f.watch, coalesce(w.relation, f.relation) AS relation,
			f.key, f.old_status, f.new_status, f.amount, f.customer, f.rows,
			f.xact_start, f.open_threshold, f.at
		FROM order_guard._in_flight_suspect() f
		LEFT JOIN order_guard.watch w ON w.id = f.watch
		WHERE f.part <> 'refused'
		UNION ALL
		SELECT x.pid, x.watch, x.relation, x.key, x.status, NULL, x.amount,
			x.customer, 1, a.xact_start, NULL, NULL
		FROM order_guard._waiter x
		JOIN pg_stat_activity a ON a.pid = x.pid
	), backend AS MATERIALIZED (
		SELECT s.pid, order_guard._root_blocker(s.pid) AS root,
			clock_timestamp() - min(s.xact_start) > make_interval(secs =>
				coalesce(min(s.open_threshold), (SELECT g.setting::integer
					FROM pg_settings g
					WHERE g.name = 'order_guard.open_threshold')) / 1000.0)
				AS overdue
		FROM suspect s GROUP BY s.pid
	)
	SELECT b.root, s.pid, s.watch, s.relation::regclass, s.key, s.old_status,
		s.new_status, order_guard._number(s.amount), s.customer, s.rows,
		s.xact_start, b.overdue
	FROM suspect s JOIN backend b USING (pid)
	ORDER BY b.root, s.pid <> b.root, s.xact_start, s.at, s.key;
END
$$;
COMMENT ON FUNCTION order_guard._stuck() IS
'Orders of transactions that are overdue or wait, with whom they wait for.';

CREATE FUNCTION order_guard._duration(i interval) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE
		WHEN s < 120 THEN s || ' s'
		WHEN s < 7200 THEN s / 60 || ' min' ||
			CASE WHEN s % 60 > 0 THEN ' ' || s % 60 || ' s' ELSE '' END
		WHEN s < 172800 THEN s / 3600 || ' h ' || s % 3600 / 60 || ' min'
		ELSE s / 86400 || ' d ' || s % 86400 / 3600 || ' h' END
	FROM (SELECT greatest(extract(epoch FROM i), 0)::bigint AS s) e;
$$;
COMMENT ON FUNCTION order_guard._duration(interval) IS
'A duration as people say it.';

CREATE FUNCTION order_guard._plural(n bigint, singular text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT n || ' ' || singular || CASE WHEN n = 1 THEN '' ELSE 's' END;
$$;
COMMENT ON FUNCTION order_guard._plural(bigint, text) IS
'A number of things.';

CREATE FUNCTION order_guard._doing(a pg_stat_activity) RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE
		WHEN a.state = 'idle in transaction (aborted)' THEN format(
			'has failed and been idle for %s without ROLLBACK', s.idle)
		WHEN a.state LIKE 'idle%' THEN format(
			'has been idle for %s without COMMIT', s.idle)
		WHEN a.wait_event = 'SyncRep' THEN format('has been in COMMIT for '
			'%s, waiting for a standby (SyncRep)', s.statement)
		WHEN a.query ~* '^\s*(commit|end)\M' THEN format(
			'has been in COMMIT for %s%s', s.statement,
			', waiting for ' || a.wait_event)
		WHEN a.wait_event_type = 'Lock' THEN format(
			'has been waiting for a lock for %s', s.statement)
		WHEN a.state IS NULL THEN 'cannot be looked at'
		ELSE format('has been running for %s%s', s.whole, ': ' || upper(
			substring(a.query FROM
				'(?i)^\s*(select|insert|update|delete|merge|copy|call|do)\M')))
		END
	FROM (SELECT
		order_guard._duration(clock_timestamp() - a.state_change) AS idle,
		order_guard._duration(clock_timestamp() - a.query_start) AS statement,
		order_guard._duration(clock_timestamp() - a.xact_start) AS whole) s;
$$;
COMMENT ON FUNCTION order_guard._doing(pg_stat_activity) IS
'What a backend has been doing, as the end of a sentence.';

CREATE TYPE order_guard._stuck_sum AS (
	watch integer, relation regclass, key text, orders bigint, others bigint,
	backends bigint, amount numeric, status text, customer text, items jsonb
);

CREATE FUNCTION order_guard._sum_stuck(orders order_guard._stuck_order[])
RETURNS order_guard._stuck_sum LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	-- orders of the first one's table; of others only the number is told,
	-- since not everybody who may read that table may read theirs
	WITH first AS (
		SELECT (orders[1]).watch, (orders[1]).relation, (orders[1]).key
	), one AS (
		-- an order for which several wait is one order
		SELECT DISTINCT ON (u.watch, u.key,
				CASE WHEN u.key IS NULL THEN u.n END) u.*,
			coalesce(u.new_status, u.old_status) AS status
		FROM unnest(orders) WITH ORDINALITY u (root, pid, watch, relation, key,
			old_status, new_status, amount, customer, rows, xact_start,
			overdue, n)
		ORDER BY u.watch, u.key, CASE WHEN u.key IS NULL THEN u.n END, u.n
	)
	SELECT f.watch, f.relation, f.key, sum(o.rows)::bigint,
		(SELECT coalesce(sum(x.rows), 0)::bigint FROM one x
			WHERE x.watch <> f.watch),
		(SELECT count(DISTINCT x.pid) FROM unnest(orders) x),
		sum(o.amount),
		CASE WHEN count(DISTINCT o.status) = 1 THEN min(o.status) END,
		CASE WHEN count(DISTINCT o.customer) = 1 THEN min(o.customer) END,
		jsonb_path_query_array(jsonb_agg(jsonb_strip_nulls(
			jsonb_build_object('pid', o.pid, 'relation', o.relation::text,
			'key', o.key, 'old_status', o.old_status, 'new_status',
			o.new_status, 'amount', o.amount)) ORDER BY o.n), '$[0 to 19]')
	FROM first f JOIN one o ON o.watch = f.watch
	GROUP BY f.watch, f.relation, f.key;
$$;
COMMENT ON FUNCTION order_guard._sum_stuck(order_guard._stuck_order[]) IS
'What a transaction holds, or what waits behind it, in sum.';

CREATE FUNCTION order_guard._backend_name(a pg_stat_activity) RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT concat('app "' || nullif(a.application_name, '') || '" ',
		format('(user %s, pid %s)', coalesce(a.usename, '?'), a.pid));
$$;
COMMENT ON FUNCTION order_guard._backend_name(pg_stat_activity) IS
'A backend as a sentence names it.';

CREATE FUNCTION order_guard._stuck_name(s order_guard._stuck_sum)
RETURNS text LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE
		WHEN s.orders = 1 AND s.key IS NOT NULL THEN format(
			'order %s of %s%s', s.key, s.relation, ' (amount ' || s.amount || ')')
		ELSE format('%s of %s%s', order_guard._plural(s.orders, 'order'),
			s.relation, ' (total ' || s.amount || ')') END ||
		CASE WHEN s.others > 0 THEN format(' and %s of other tables',
			order_guard._plural(s.others, 'order')) ELSE '' END;
$$;
COMMENT ON FUNCTION order_guard._stuck_name(order_guard._stuck_sum) IS
'Orders as a sentence names them.';

CREATE FUNCTION order_guard._queue(n bigint) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE WHEN n = 1 THEN '; 1 more transaction waits behind it'
		WHEN n > 1 THEN format('; %s more transactions wait behind it', n) END;
$$;
COMMENT ON FUNCTION order_guard._queue(bigint) IS
'The end of a sentence: what waits behind a transaction.';

CREATE FUNCTION order_guard._stuck_summary(a pg_stat_activity,
	held order_guard._stuck_sum, behind order_guard._stuck_sum)
RETURNS text LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	who text := CASE WHEN a.pid IS NULL THEN 'a prepared transaction'
		ELSE order_guard._backend_name(a) END;
BEGIN
	IF held.orders IS NOT NULL THEN
		RETURN format('%s %s held by a transaction of %s that %s%s',
			order_guard._stuck_name(held),
			CASE WHEN held.orders + held.others = 1 THEN 'is' ELSE 'are' END,
			who, order_guard._doing(a), order_guard._queue(behind.backends));
	END IF;
	RETURN format('%s waits for a lock; at the head of the queue is %s%s%s',
		coalesce('order ' || behind.key, 'an order') || ' of ' ||
			behind.relation::text,
		who, CASE WHEN a.pid IS NOT NULL
			THEN ', which ' || order_guard._doing(a) END,
		order_guard._queue(behind.backends - 1));
END
$$;
COMMENT ON FUNCTION order_guard._stuck_summary(pg_stat_activity,
	order_guard._stuck_sum, order_guard._stuck_sum) IS
'One sentence that a support agent understands.';

CREATE FUNCTION order_guard._stuck_evidence(a pg_stat_activity,
	held order_guard._stuck_sum, behind order_guard._stuck_sum)
RETURNS jsonb LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT jsonb_build_object('pid', a.pid,
		'backend_start', a.backend_start, 'xact_start', a.xact_start,
		'state', a.state, 'wait_event_type', a.wait_event_type,
		'wait_event', a.wait_event, 'usename', a.usename,
		'application_name', a.application_name,
		'client_addr', a.client_addr,
		'blocked_by', to_jsonb(pg_blocking_pids(a.pid)),
		'orders', coalesce(held.items, '[]'),
		'orders_held', coalesce(held.orders + held.others, 0),
		'amount', coalesce(held.amount, behind.amount),
		'behind', coalesce(behind.items, '[]'),
		'orders_behind', coalesce(behind.orders + behind.others, 0),
		'backends_behind', coalesce(behind.backends, 0),
		'query', a.query);
$$;
COMMENT ON FUNCTION order_guard._stuck_evidence(pg_stat_activity,
	order_guard._stuck_sum, order_guard._stuck_sum) IS
'What is known of a stuck transaction: see resolve(), action terminate.';

CREATE FUNCTION order_guard._find_uncommitted()
RETURNS TABLE (watch integer, relation oid, hash uuid, severity text,
	status text, amount numeric, customer text, count bigint,
	since timestamptz, summary text, evidence jsonb)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	g record;
	a pg_stat_activity;
	held order_guard._stuck_sum;
	behind order_guard._stuck_sum;
	about order_guard._stuck_sum;
BEGIN
	IF NOT EXISTS (SELECT FROM order_guard._in_flight_suspect())
		AND NOT EXISTS (SELECT FROM order_guard._waiting()) THEN
		RETURN;
	END IF;
	PERFORM pg_stat_clear_snapshot();
	FOR g IN SELECT s.root, min(s.xact_start) AS since,
			array_agg(s) FILTER (WHERE s.pid = s.root) AS held,
			array_agg(s) FILTER (WHERE s.pid <> s.root) AS behind
		FROM order_guard._stuck() s
		GROUP BY s.root HAVING bool_or(s.overdue)
	LOOP
		SELECT b.* INTO a FROM pg_stat_activity b WHERE b.pid = g.root;
		held := order_guard._sum_stuck(g.held);
		behind := order_guard._sum_stuck(g.behind);
		about := CASE WHEN g.held IS NULL THEN behind ELSE held END;
		RETURN QUERY SELECT about.watch, about.relation::oid,
			md5(concat_ws('/', g.root, extract(epoch FROM a.backend_start),
				extract(epoch FROM a.xact_start)))::uuid,
			CASE WHEN g.behind IS NULL THEN 'warning' ELSE 'critical' END,
			about.status, about.amount, about.customer,
			about.orders + about.others, g.since,
			order_guard._stuck_summary(a, held, behind),
			order_guard._stuck_evidence(a, held, behind);
	END LOOP;
END
$$;
COMMENT ON FUNCTION order_guard._find_uncommitted() IS
'Open transactions that hold orders, or keep them waiting, for too long.';

-- 3  the worker -----------------------------------------------------------

-- 4  watch ----------------------------------------------------------------

-- 5  incidents and actions ------------------------------------------------

-- 6  privileges -----------------------------------------------------------

REVOKE ALL ON ALL TABLES IN SCHEMA order_guard FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA order_guard FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA order_guard FROM PUBLIC;

GRANT USAGE ON SCHEMA order_guard TO PUBLIC;
GRANT SELECT ON order_guard.in_flight, order_guard.attempts,
	order_guard._visible_watch, order_guard._visible_tracked,
	order_guard._waiter TO PUBLIC;
-- run as the caller, and show what he may SELECT anyway
GRANT EXECUTE ON FUNCTION
	order_guard._in_flight(), order_guard._waiting(), order_guard._recent(),
	order_guard._committed(xid), order_guard._number(text),
	order_guard._may_see_uncommitted(oid),
	order_guard._key_hash(oid, name[], text),
	order_guard._key_hash(regclass, text),
	order_guard._column_condition(oid, name, text),
	order_guard._journal_trace(order_guard._visible_watch, uuid, text),
	order_guard._attempt_trace(order_guard._visible_watch, uuid, text),
	order_guard._row_trace(order_guard._visible_watch, text),
	order_guard._unknown(text),
	order_guard._no_trace(order_guard._visible_watch),
	order_guard._judge_absent(order_guard._visible_watch,
		order_guard._trace),
	order_guard._judge(order_guard._visible_watch, uuid, text, text),
	order_guard._outcome_message(order_guard._trace),
	order_guard._watch_of(regclass),
	order_guard._checked_hash(order_guard._visible_watch, text),
	order_guard._token_trace(order_guard._visible_watch, text),
	order_guard._answer(order_guard._visible_watch, order_guard._trace),
	order_guard._outcome(regclass, text), order_guard._outcome(text),
	order_guard.outcome(regclass, text), order_guard.outcome(text)
	TO PUBLIC;
