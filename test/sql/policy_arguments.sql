-- set_policy(): what is checked, and who may.
\set ON_ERROR_ROLLBACK on
\set SHOW_CONTEXT never
BEGIN;
CREATE TYPE og_phase AS ENUM ('PAYING', 'PAID', 'CANCELLED');
CREATE ROLE og_owner;
CREATE ROLE og_other;
CREATE SCHEMA og_policy;
GRANT ALL ON SCHEMA og_policy TO PUBLIC;
SET LOCAL search_path = og_policy, order_guard, public;
CREATE TABLE orders (id bigint PRIMARY KEY, status og_phase);
ALTER TABLE orders OWNER TO og_owner;
CREATE TABLE unwatched (id bigint PRIMARY KEY, status text);
INSERT INTO watch (id, relation, key, status, status_columns)
	VALUES (-1, 'orders', '{id}', 'status', '{status}');

SELECT set_policy('', 'stalled', 'notify', '1 min', 'orders');
SELECT set_policy(E'a\nb', 'stalled', 'notify', '1 min', 'orders');
SELECT set_policy('p', 'staled', 'notify', '1 min', 'orders');
SELECT set_policy('p', 'stalled', 'acknowledge', '1 min', 'orders');
SELECT set_policy('p', 'stalled', 'terminate', '1 min', 'orders');
SELECT set_policy('p', 'uncommitted', 'rollback_prepared', '1 min');
SELECT set_policy('p', 'stalled', 'notify', '-1 s', 'orders');
SELECT set_policy('p', 'stalled', 'notify', '101 years', 'orders');
SELECT set_policy('p', 'stalled', 'notify', '1 s', 'orders', backoff => '0');
SELECT set_policy('p', 'stalled', 'notify', '1 s', 'orders', max_tries => 0);
SELECT set_policy('p', 'stalled', 'notify', NULL, 'orders');
SELECT set_policy('p', 'stalled', 'notify', '1 s', 'unwatched');
SELECT set_policy('p', 'stalled', 'notify', '1 s', 'orders', ARRAY[NULL]);
SELECT set_policy('p', 'stalled', 'notify', '1 s', 'orders', args => '[]');
SELECT set_policy('p', 'stalled', 'notify', '1 s', 'orders',
	args => '{"to": "PAID"}');
-- escalate
SELECT set_policy('p', 'stalled', 'escalate', '1 s', 'orders');
SELECT set_policy('p', 'stalled', 'escalate', '1 s', 'orders',
	args => '{"severity": "fatal"}');
SELECT set_policy('p', 'stalled', 'escalate', '1 s', 'orders',
	args => '{"severity": "critical", "min_amount": "much"}');
-- what is read anew for each incident
SELECT set_policy('p', 'stalled', 'escalate', '1 s', 'orders',
	args => '{"severity": "critical", "min_amount": 1e100}');
SELECT set_policy('p', 'stalled', 'escalate', '1 s', 'orders',
	where_status => array_fill('PAYING'::text, '{2000}'),
	args => '{"severity": "critical"}');
-- move
SELECT set_policy('p', 'stalled', 'move', '1 s', 'orders');
SELECT set_policy('p', 'stalled', 'move', '1 s', 'orders',
	args => '{"to": "CANCELLED"}');
SELECT set_policy('p', 'stalled', 'move', '1 s', 'orders',
	args => '{"to": "CANCELED", "guess": true}');
SELECT set_policy('p', 'uncommitted', 'move', '1 s', 'orders',
	args => '{"to": "CANCELLED", "guess": true}');
SELECT set_policy('p', 'stalled', 'move', '1 s', 'orders',
	args => '{"to": "CANCELLED", "guess": true, "force": true}');
UPDATE watch SET status = '(CASE WHEN id > 0 THEN 1 END)' WHERE id = -1;
SELECT set_policy('p', 'stalled', 'move', '1 s', 'orders',
	args => '{"to": "CANCELLED", "guess": true}');
UPDATE watch SET status = 'status' WHERE id = -1;
SELECT count(*) FROM policies;

-- the owner of a table, for his table
SET ROLE og_other;
SELECT set_policy('p', 'stalled', 'notify', '1 min', 'orders');
SELECT set_policy('p', 'stalled', 'notify', '1 min');
SET ROLE og_owner;
SELECT set_policy('p', 'stalled', 'notify', '1 min');
SELECT set_policy('mine', 'stalled', 'move', '1 min', 'orders', '{PAYING}',
	args => '{"to": "CANCELLED", "guess": true}');
SELECT name, kind, action, after, relation, where_status, max_tries, backoff,
	args, dry_run, enabled, owner, done, would_do, refused, failed,
	suspended_until, suspended_why FROM policies \gx
-- again alters it
SELECT set_policy('mine', 'stalled', 'notify', '2 min', 'orders');
SELECT name, action, after, where_status FROM policies;
SELECT alter_policy('mine', dry_run => false);
SELECT dry_run, enabled FROM policies;
SELECT alter_policy('mine', enabled => false);
SELECT dry_run, enabled FROM policies;
SELECT alter_policy('none', enabled => true);
SELECT alter_policy('mine');
SELECT alter_policy('mine', NULL, NULL);
SELECT drop_policy('none');

-- others do not see it, nor may they touch it
SET ROLE og_other;
SELECT count(*) FROM policies;
SELECT set_policy('mine', 'stalled', 'notify', '1 min', 'orders');
SELECT alter_policy('mine', enabled => true);
SELECT drop_policy('mine');
SELECT * FROM policy;
SELECT _write_policy('p', 'stalled', 'notify', '1 s', NULL, NULL, 1, '1 s',
	'{}', false, 'og_other');
RESET ROLE;
SELECT set_policy('mine', 'stalled', 'notify', '1 min', 'orders');
SELECT set_policy('all', 'uncommitted', 'terminate', '10 min');
SET ROLE og_owner;
SELECT name FROM policies;
SELECT alter_policy('all', enabled => true);
RESET ROLE;

-- what has become of its table and of its owner
ALTER TABLE orders OWNER TO CURRENT_USER;
SELECT name, suspended_until, suspended_why FROM policies ORDER BY 1;
DELETE FROM watch WHERE id = -1;
SELECT name, suspended_why FROM policies ORDER BY 1;
DROP TABLE orders;
SELECT name, suspended_why FROM policies ORDER BY 1;
REASSIGN OWNED BY og_owner TO CURRENT_USER;
DROP OWNED BY og_owner;
DROP ROLE og_owner;
SELECT name, suspended_why FROM policies ORDER BY 1;
SELECT drop_policy('mine');
SELECT name FROM policies;
ROLLBACK;
