-- A row that cannot be read: said in the watch's health, and in the way of
-- no other order and no other watch.
SET client_min_messages = warning;
CREATE TABLE pz_orders (id int PRIMARY KEY, n int);
CREATE TABLE pz_others (id int PRIMARY KEY, status text);
CREATE VIEW pz_incidents AS
SELECT relation, kind, key, count, state, resolution
FROM order_guard.incidents
WHERE relation IN ('pz_orders'::regclass, 'pz_others'::regclass)
ORDER BY id;
-- one is there before it is watched, in the middle of others
INSERT INTO pz_orders SELECT i, CASE WHEN i <> 500 THEN 1 END
FROM generate_series(1, 1000) i;
UPDATE pz_orders SET n = 0 WHERE id = 500;
SELECT order_guard.watch('pz_orders', '(CASE 10 / n WHEN 10 THEN ''PAYING''
	ELSE ''PAID'' END)', '{"PAYING": "1 us"}') AS id \gset
SELECT order_guard.watch('pz_others', 'status', '{"PAYING": "1 us"}')
	AS other \gset
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT relation, kind, key, count FROM pz_incidents;
SELECT sweep, last_error FROM order_guard.watches WHERE id = :id;

-- another comes, with good ones around it
INSERT INTO pz_orders VALUES (2001, 1), (2002, 0), (2003, 1);
INSERT INTO pz_others VALUES (1, 'PAYING');
SELECT count(*) FROM order_guard.scan();
SELECT relation, kind, key, state FROM pz_incidents
WHERE key IS NOT NULL ORDER BY key;
SELECT relation, last_error FROM order_guard.watches
WHERE id IN (:id, :other) ORDER BY id;

-- neither is forgotten
UPDATE pz_orders SET n = 1 WHERE id = 2002;
SELECT count(*) FROM order_guard.scan();
SELECT last_error IS NULL AS healthy FROM order_guard.watches WHERE id = :id;
UPDATE pz_orders SET n = 1 WHERE id = 500;
SELECT count(*) FROM order_guard.scan();
SELECT last_error IS NULL AS healthy FROM order_guard.watches WHERE id = :id;
SELECT count FROM pz_incidents WHERE key IS NULL;
SELECT key, state FROM pz_incidents WHERE key IN ('500', '2002')
ORDER BY key;

-- more of them than anybody would look through
UPDATE pz_orders SET n = 0;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT last_error LIKE '%division by zero' AS said FROM order_guard.watches
WHERE id = :id;
SELECT errors FROM order_guard.stat_worker;
UPDATE pz_orders SET n = 2;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT DISTINCT state FROM pz_incidents
WHERE relation = 'pz_orders'::regclass;
SELECT last_error FROM order_guard.watches WHERE id = :id;
SELECT order_guard.unwatch('pz_orders'), order_guard.unwatch('pz_others');
DROP TABLE pz_orders, pz_others CASCADE;
