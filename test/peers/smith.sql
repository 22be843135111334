-- What sqlsmith finds: the demonstration's shop, watched; orders of all
-- kinds of trouble; and a plain user with a watched table of his own.
CREATE EXTENSION order_guard;
\ir ../demo/shop.sql
\ir ../demo/watch.sql
CREATE ROLE smith LOGIN;
CREATE SCHEMA forge AUTHORIZATION smith;
SET ROLE smith;
CREATE TYPE forge.status AS ENUM ('NEW', 'PAYING', 'PAID');
CREATE TABLE forge.orders (a int, b text, status forge.status,
	token text, amount numeric, customer text, at timestamptz DEFAULT now(),
	PRIMARY KEY (a, b));
CREATE INDEX ON forge.orders (token);
SELECT order_guard.watch('forge.orders', 'status', '{"PAYING": "1 ms"}',
	'{PAID}', token => 'token', amount => 'amount', customer => 'customer',
	options => '{"settle": true}');
RESET ROLE;
-- one table he may read and change, one under row security, one not at all
GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO smith;
GRANT SELECT ON payments TO smith;
ALTER TABLE payments ENABLE ROW LEVEL SECURITY;
CREATE POLICY even ON payments USING (id % 2 = 0);
SELECT count(*) FROM order_guard.scan();
INSERT INTO forge.orders SELECT n, 'x', 'PAYING', 't' || n, n, 'c' || n % 3
	FROM generate_series(1, 20) n;
INSERT INTO payments (order_id, amount, created_at)
	SELECT 1000 + n, 5, now() - interval '1 day' FROM generate_series(1, 20) n;
INSERT INTO orders (customer_id, client_ref, amount, created_at)
	SELECT n, 'old-' || n, 5, now() - interval '1 day'
	FROM generate_series(1, 20) n;
BEGIN;
INSERT INTO forge.orders VALUES (100, 'lost', 'NEW', 'lost', 1);
ROLLBACK;
BEGIN;
INSERT INTO orders (customer_id, client_ref, amount) VALUES (1, 'gone', 5);
ROLLBACK;
SELECT count(*) FROM order_guard.scan();
ANALYZE;
