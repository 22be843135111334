-- What the loops of doc/outcome.md work on.
CREATE EXTENSION order_guard;
CREATE TABLE orders (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	token text NOT NULL UNIQUE,
	amount numeric NOT NULL CHECK (amount > 0),
	status text NOT NULL DEFAULT 'SUBMITTED');
SELECT order_guard.watch('orders', 'status', '{"SUBMITTED": "1 h"}',
	token => 'token');

CREATE ROLE shop LOGIN PASSWORD :'password';
CREATE ROLE shop_before LOGIN PASSWORD :'password';
CREATE ROLE shop_after LOGIN PASSWORD :'password';
GRANT SELECT, INSERT ON orders TO shop, shop_before, shop_after;
ALTER ROLE shop SET log_statement = 'all';
ALTER ROLE shop_before SET order_guard.fail_point = 'once before-commit:*';
ALTER ROLE shop_after SET order_guard.fail_point = 'once after-commit:*';
