-- answer(): what a verdict of the gateway does to an incident and its order.
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA og_shop;
CREATE TABLE og_shop.payments (id bigint PRIMARY KEY, status text
	CHECK (status <> 'FAILED' OR id <> 5));
INSERT INTO og_shop.payments
	SELECT n, 'PAYING' FROM generate_series(1, 19) n;
INSERT INTO order_guard.watch (id, relation, key, status, status_columns,
		options)
	VALUES (-1, 'og_shop.payments', '{id}', 'status', '{status}',
		'{"verdicts": {"succeeded": "PAID", "failed": "FAILED"}}');
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		key, hash, status, summary)
	SELECT -n, 'stalled', -1, 'og_shop.payments'::regclass,
		'og_shop.payments', n, gen_random_uuid(), 'PAYING', 'payment ' || n
	FROM generate_series(1, 9) n;
CREATE VIEW og_shop.state AS
	SELECT -i.id AS id, p.status, i.state, i.severity, i.verdict, i.summary,
		regexp_replace(i.resolution, ' by .*', '') AS resolution
	FROM order_guard.incidents i JOIN og_shop.payments p ON p.id = -i.id;
CREATE VIEW og_shop.audit AS
	SELECT a.action, a.result, a.detail, a.args FROM order_guard.actions a
	ORDER BY a.id DESC;

-- succeeded and failed move the order
SELECT count(*) FROM order_guard.claim(9, '1 h');
SELECT action_id > 0 AS audited, result, detail
	FROM order_guard.answer(-1, 'succeeded', '{"http": 200}');
SELECT result, detail FROM order_guard.answer(-2, 'failed');
SELECT * FROM og_shop.state WHERE id IN (1, 2) ORDER BY id;
SELECT evidence #- '{answers,0,at}' #- '{answers,0,by}' AS evidence
	FROM order_guard.incidents WHERE id = -1;
SELECT * FROM og_shop.audit LIMIT 2;

-- the same answer twice is one
SELECT a.action_id = b.action_id AS same, b.result
	FROM order_guard.answer(-3, 'succeeded', lease => 1) a,
		order_guard.answer(-3, 'succeeded', '{"again": true}', 2) b;
SELECT count(*) FROM order_guard.actions WHERE incident = -3;

-- the order moved on, with or without the worker knowing
UPDATE og_shop.payments SET status = 'FAILED' WHERE id = 4;
SELECT result, detail FROM order_guard.answer(-4, 'succeeded');
SELECT * FROM og_shop.state WHERE id = 4;
UPDATE order_guard.incident SET state = 'cleared',
	resolution = 'moved on to FAILED' WHERE id = -4;
SELECT result, detail FROM order_guard.answer(-4, 'failed');
SELECT result, detail FROM order_guard.answer(-4, 'unknown');
DELETE FROM og_shop.payments WHERE id = 9;
SELECT result, detail FROM order_guard.answer(-9, 'succeeded');

-- the table refuses: the verdict is kept, a person told
SELECT result, detail FROM order_guard.answer(-5, 'failed');
SELECT * FROM og_shop.state WHERE id = 5;
SELECT result, detail FROM order_guard.answer(-5, 'failed');
-- and what contradicts it moves nothing
SELECT result, detail FROM order_guard.answer(-5, 'succeeded');
SELECT * FROM og_shop.state WHERE id = 5;

-- what it refuses with is told to who answers; others read it without values
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		key, hash, status, summary)
	VALUES (-11, 'stalled', -1, 'og_shop.payments'::regclass,
		'og_shop.payments', 11, gen_random_uuid(), 'PAYING', 'payment 11'),
		(-12, 'stalled', -1, 'og_shop.payments'::regclass,
		'og_shop.payments', 12, gen_random_uuid(), 'PAYING', 'payment 12');
CREATE FUNCTION og_shop.tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF new.id = 12 THEN
		PERFORM 'card 4111-0001'::bigint;
	END IF;
	RAISE EXCEPTION 'card %', '4111-0001';
END $$;
CREATE TRIGGER tell BEFORE UPDATE ON og_shop.payments FOR EACH ROW
	WHEN (new.id IN (11, 12)) EXECUTE FUNCTION og_shop.tell();
SELECT result FROM order_guard.answer(-11, 'succeeded');
SELECT result FROM order_guard.answer(-12, 'succeeded');
SELECT detail FROM order_guard.actions WHERE incident IN (-11, -12)
	ORDER BY incident;

-- a person decided before
SELECT result FROM order_guard.resolve(-6, 'close', 'called the bank');
SELECT result, regexp_replace(detail, ' by .*', '') AS detail
	FROM order_guard.answer(-6, 'succeeded');
SELECT * FROM og_shop.state WHERE id = 6;
SELECT action, result FROM order_guard.actions WHERE incident = -6
	ORDER BY id;

-- nobody said what a verdict means
UPDATE order_guard.watch SET options = '{"verdicts": {"failed": "FAILED"}}'
	WHERE id = -1;
SELECT result, detail FROM order_guard.answer(-7, 'succeeded');
SELECT * FROM og_shop.state WHERE id = 7;
-- then somebody does, and wants it asked again
UPDATE order_guard.watch SET options = '{"verdicts": {"succeeded": "PAID"}}'
	WHERE id = -1;
SELECT * FROM order_guard.resolve(-7, 'ask_again', args => '{"dry_run": true}');
SELECT result, detail FROM order_guard.resolve(-7, 'ask_again');
SELECT * FROM og_shop.state WHERE id = 7;
SELECT incident, tries FROM order_guard.claim(9, '1 min');
SELECT result, detail FROM order_guard.answer(-7, 'succeeded');

-- it said failed, the order was moved: never back, but told
SELECT result, detail FROM order_guard.answer(-2, 'succeeded');
SELECT result FROM order_guard.answer(-2, 'succeeded');
SELECT * FROM og_shop.state WHERE id = 2;
SELECT kind, key, status, severity, state,
	regexp_replace(summary, ' by .*,', ' by ...,') AS summary,
	evidence - 'query' AS evidence
	FROM order_guard.incidents WHERE kind = 'contradiction';

-- it is not the gateway's fault that nobody has an order
UPDATE order_guard.incident SET kind = 'vanished', status = NULL,
	evidence = '{"token": "web-8"}' WHERE id = -8;
SELECT result, detail FROM order_guard.answer(-8, 'failed');
SELECT severity, verdict, summary FROM order_guard.incidents WHERE id = -8;
SELECT result FROM order_guard.resolve(-8, 'ask_again');
SELECT result, detail FROM order_guard.answer(-8, 'succeeded');
SELECT severity, verdict, summary FROM order_guard.incidents WHERE id = -8;

-- what cannot be
SELECT * FROM order_guard.answer(-1, NULL);
SELECT * FROM order_guard.answer(-1, 'timeout');
SELECT * FROM order_guard.answer(NULL, 'unknown');
SELECT * FROM order_guard.answer(-99, 'unknown');
ROLLBACK;
