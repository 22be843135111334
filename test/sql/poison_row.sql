-- A row that cannot be read keeps nobody from seeing the others.
CREATE SCHEMA poison_row;
SET search_path = poison_row;
CREATE TABLE orders (id integer PRIMARY KEY, weight integer);
INSERT INTO orders VALUES (1, 2);
SELECT order_guard.watch('orders',
	$$(CASE 10 / weight WHEN 5 THEN 'PAYING' ELSE 'PAID' END)$$,
	'{"PAYING": "1 ms"}') > 0 AS ok;
SELECT count(*) FROM order_guard.scan();
INSERT INTO orders VALUES (2, 0), (3, 2), (4, 10);
DO $$ BEGIN FOR i IN 1 .. 3 LOOP PERFORM order_guard.scan(); END LOOP; END $$;
SELECT key, kind, state FROM order_guard.incident
WHERE relation = 'orders'::regclass AND key IS NOT NULL ORDER BY 1;
SELECT last_error FROM order_guard.watches WHERE relation = 'orders'::regclass;

-- a sweep passes over its block
CREATE TABLE swept (id integer PRIMARY KEY, weight integer, filler text)
	WITH (fillfactor = 10);
INSERT INTO swept
SELECT i, CASE i WHEN 2 THEN 0 ELSE 2 END, repeat('x', 800)
FROM generate_series(1, 3) i;
SELECT order_guard.watch('swept',
	$$(CASE 10 / weight WHEN 5 THEN 'PAYING' ELSE 'PAID' END)$$,
	'{"PAYING": "1 hour"}') > 0 AS ok;
DO $$ BEGIN FOR i IN 1 .. 8 LOOP PERFORM order_guard.scan(); END LOOP; END $$;
SELECT t.key FROM order_guard.tracked t
JOIN order_guard.watch w ON w.id = t.watch
WHERE w.relation = 'swept'::regclass ORDER BY 1;
SELECT sweep, last_error FROM order_guard.watches
WHERE relation = 'swept'::regclass;

-- another key
CREATE TABLE moved (id integer PRIMARY KEY, shop integer NOT NULL,
	no integer NOT NULL, status text, UNIQUE (shop, no));
SELECT order_guard.watch('moved', 'status', '{"PAYING": "1 ms"}') > 0 AS ok;
SELECT count(*) FROM order_guard.scan();
INSERT INTO moved VALUES (1, 7, 8, 'PAYING');
DO $$ BEGIN FOR i IN 1 .. 2 LOOP PERFORM order_guard.scan(); END LOOP; END $$;
SELECT order_guard.watch('moved', 'status', key => '{shop,no}') > 0 AS ok;
DO $$ BEGIN FOR i IN 1 .. 3 LOOP PERFORM order_guard.scan(); END LOOP; END $$;
SELECT key, kind, state, resolution FROM order_guard.incident
WHERE relation = 'moved'::regclass ORDER BY id;
SELECT last_error FROM order_guard.watches WHERE relation = 'moved'::regclass;
SELECT order_guard.unwatch(r) FROM unnest('{orders,swept,moved}'::regclass[]) r;
SET client_min_messages = warning;
DROP SCHEMA poison_row CASCADE;
