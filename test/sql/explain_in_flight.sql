-- explain() tells what an open transaction, one's own too, does to an order.
BEGIN;
CREATE TABLE og_open (id integer PRIMARY KEY, status text, ref text UNIQUE);
SELECT order_guard.watch('og_open', 'status', token => 'ref') > 0 AS watched;
INSERT INTO og_open VALUES (1, 'NEW', 'a');
SELECT event, detail - '{pid,application_name,usename}'::text[] AS detail
	FROM order_guard.explain('og_open', '1') WHERE event <> 'row';
-- a transaction that held it or kept it waiting, whose incident has no key
INSERT INTO order_guard.incident (id, kind, watch, relation, relation_name,
		hash, summary, evidence)
	SELECT -n, 'uncommitted', 0, 'og_open'::regclass, '', md5(n::text)::uuid,
		'held ' || n, jsonb_build_object(CASE n WHEN 2 THEN 'behind'
			ELSE 'orders' END, jsonb_build_array(jsonb_build_object('key',
			CASE n WHEN 3 THEN '2' ELSE '1' END, 'pid', n, 'relation',
			(SELECT quote_ident(nspname) || '.og_open' FROM pg_namespace
				WHERE oid = 'public'::regnamespace))))
	FROM generate_series(1, 3) n;
-- what the gateway said, and what was found
INSERT INTO order_guard.action (incident, action, by, result, args, proof)
	VALUES (-1, 'answer', 'asker', 'done',
		'{"verdict": "failed", "evidence": {"code": 7}}',
		'{"expected": {"status": "NEW"}, "found": {"status": "NEW"}}');
SELECT event, detail FROM order_guard.explain('public.og_open', '1')
	WHERE event NOT IN ('row', 'in flight') ORDER BY detail ->> 'incident';
ROLLBACK;
