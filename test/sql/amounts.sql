-- An amount of whatever type is a number or NULL, and stops nobody.
SET client_min_messages = warning;
BEGIN;
CREATE SCHEMA og_amounts;
SET search_path = og_amounts;
CREATE DOMAIN price AS money;
CREATE TABLE cash (id integer PRIMARY KEY, status text, amount money);
CREATE TABLE priced (id integer PRIMARY KEY, status text, amount price);
CREATE TABLE float (id integer PRIMARY KEY, status text, amount float8);
CREATE TABLE words (id integer PRIMARY KEY, status text, amount text);
SELECT count(order_guard.watch(t::regclass, 'status',
	amount => 'amount', deadlines => '{"NEW": "1 h"}'))
	FROM unnest('{cash,priced,float,words}'::text[]) t;
COMMIT;
BEGIN;
INSERT INTO cash VALUES (1, 'NEW', 12.5::numeric::money);
INSERT INTO priced VALUES (1, 'NEW', (-1250.75)::numeric::money);
INSERT INTO float VALUES (1, 'NEW', 'NaN'), (2, 'NEW', '-Infinity'),
	(3, 'NEW', 1e300), (4, 'NEW', -2.5e-3);
INSERT INTO words VALUES (1, 'NEW', '12 EUR'), (2, 'NEW', '+.5'),
	(3, 'NEW', '1e9999'), (4, 'NEW', repeat('9', 250)), (5, 'NEW', ''),
	(6, 'NEW', ' 12.50 '), (7, 'NEW', '--1'), (8, 'NEW', '1 2');
ROLLBACK;
SELECT count(*) FROM order_guard.scan();
SELECT relation::regclass, key, CASE WHEN amount > 1e200 THEN 1 ELSE amount
	END AS amount
	FROM order_guard.attempt WHERE relation IN ('cash'::regclass,
	'priced'::regclass, 'float'::regclass, 'words'::regclass)
	ORDER BY relation, key;
-- a deleted order's amount is still known
INSERT INTO cash VALUES (2, 'NEW', 99::numeric::money);
DELETE FROM cash WHERE id = 2;
SELECT count(*) FROM order_guard.scan();
SELECT kind, key, amount FROM order_guard.incidents
	WHERE relation = 'cash'::regclass AND kind = 'deleted';
SELECT count(order_guard.unwatch(t::regclass))
	FROM unnest('{cash,priced,float,words}'::text[]) t;
DROP SCHEMA og_amounts CASCADE;
