-- pending and unknown: asked again by a schedule that ends with a person.
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA og_shop;
CREATE TABLE og_shop.payments (id bigint PRIMARY KEY, status text);
INSERT INTO og_shop.payments SELECT n, 'PAYING' FROM generate_series(1, 9) n;
INSERT INTO order_guard.watch (id, relation, key, status, status_columns,
		options)
	VALUES (-1, 'og_shop.payments', '{id}', 'status', '{status}',
		'{"ask": ["1 m", "1 h"], "verdicts": {"succeeded": "PAID"}}');
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		key, hash, status, summary)
	SELECT -n, 'stalled', -1, 'og_shop.payments'::regclass,
		'og_shop.payments', n, gen_random_uuid(), 'PAYING', 'payment ' || n
	FROM generate_series(1, 3) n;
CREATE FUNCTION og_shop.ask(verdict text, evidence jsonb DEFAULT '{}')
RETURNS TABLE (tries integer, result text, detail text, again interval)
LANGUAGE plpgsql AS $$
DECLARE
	c record;
BEGIN
	UPDATE order_guard.incident SET ask_at = now()
		WHERE id = -1 AND lease IS NULL;
	SELECT * INTO c FROM order_guard.claim(1, '1 min');
	SELECT a.result, left(a.detail, 24) INTO result, detail
	FROM order_guard.answer(c.incident, verdict, evidence, c.lease) a;
	tries := c.tries;
	SELECT date_trunc('minute', i.ask_at - clock_timestamp()
		+ interval '1 s') INTO again
	FROM order_guard.incident i WHERE i.id = c.incident;
	RETURN NEXT;
END
$$;
UPDATE order_guard.incident SET snoozed_until = '2999-01-01' WHERE id < -1;

SELECT * FROM og_shop.ask('pending');
SELECT count(*) FROM order_guard.claim(1, '1 min');
SELECT * FROM og_shop.ask('unknown');
SELECT tries, result, detail FROM og_shop.ask('unknown');
SELECT severity, summary, ask_person, state FROM order_guard.incidents
	WHERE id = -1;
-- only a person goes on
UPDATE order_guard.incident SET ask_at = now() WHERE id = -1;
SELECT count(*) FROM order_guard.claim(1, '1 min');
SELECT result FROM order_guard.resolve(-1, 'ask_again', 'they are back');
SELECT severity, summary, ask_person FROM order_guard.incidents
	WHERE id = -1;
SELECT * FROM og_shop.ask('unknown');

-- a late answer: who asks now is not disturbed, but what it says is true
UPDATE order_guard.incident SET snoozed_until = NULL WHERE id = -2;
SELECT lease AS first FROM order_guard.claim(1, '1 min') \gset
UPDATE order_guard.incident SET ask_at = now() WHERE id = -2;
SELECT lease AS second FROM order_guard.claim(1, '1 min') \gset
SELECT :first < :second AS another;
SELECT result, detail FROM order_guard.answer(-2, 'unknown', lease => :first);
SELECT lease = :second AS undisturbed FROM order_guard.incident WHERE id = -2;
SELECT result, left(detail, 24) AS detail
	FROM order_guard.answer(-2, 'pending', lease => :second);
-- twice is once
SELECT count(DISTINCT action_id) FROM (
	SELECT action_id FROM order_guard.answer(-2, 'pending', lease => :second)
	UNION ALL SELECT id FROM order_guard.actions WHERE incident = -2
		AND args ->> 'verdict' = 'pending') a;
SELECT result, detail FROM order_guard.answer(-2, 'succeeded',
	lease => :first);

-- one that was not asked for puts nothing off
SELECT result, detail FROM order_guard.answer(-3, 'pending');
SELECT asks, ask_at FROM order_guard.incidents WHERE id = -3;

-- what it says is bounded
SELECT count(*) FROM generate_series(1, 9) n,
	order_guard.answer(-3, 'unknown', to_jsonb(repeat('x', n * 1000)), n);
SELECT jsonb_array_length(evidence -> 'answers') AS answers,
	octet_length(evidence::text) < 2000 AS bounded,
	evidence #> '{answers,4,lease}' AS last,
	evidence #> '{answers,4,evidence,bytes}' AS bytes
	FROM order_guard.incidents WHERE id = -3;
SELECT max(octet_length(args::text)) < 8200 AS bounded,
	max(octet_length(args::text)) > 7000 AS whole
	FROM order_guard.actions WHERE incident = -3;
SELECT result FROM order_guard.answer(-3, 'unknown', NULL);
SELECT result FROM order_guard.answer(-3, 'unknown', '[1, "two"]', 77);
ROLLBACK;
