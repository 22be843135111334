-- suggest() proposes statements that run as they are.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA ws;
CREATE SCHEMA "Sales-2";
CREATE TYPE ws.order_status AS ENUM
	('NEW', 'SUBMITTED', 'PAYING', 'PAID', 'CANCELLED');
CREATE DOMAIN ws.phase AS text
	CHECK (VALUE IN ('queued', 'running', 'done'));

-- an enum, with all that can be guessed
CREATE TABLE ws.orders (id uuid PRIMARY KEY, client_ref text UNIQUE,
	status ws.order_status NOT NULL, total numeric(12,2),
	tax_amount numeric, customer_id bigint);
-- a CHECK, quoted names, no primary key
CREATE TABLE "Sales-2"."order" ("Id" bigint NOT NULL UNIQUE,
	"paymentStatus" varchar(20) CHECK ("paymentStatus" IN
		('awaiting-payment', 'it''s paid', 'paid')),
	"totalAmount" int, "userId" int, "idempotencyKey" uuid UNIQUE);
-- statistics
CREATE TABLE ws.payment (a int, b int, state text, PRIMARY KEY (a, b));
INSERT INTO ws.payment SELECT i, i, (ARRAY['pending', 'Failed', 'CAPTURED'])
	[i % 3 + 1] FROM generate_series(1, 300) i;
ANALYZE ws.payment;
-- never analysed
CREATE TABLE ws.jobs (id int PRIMARY KEY, run_state text);
INSERT INTO ws.jobs VALUES (1, 'in progress'), (2, 'completed');
-- a domain, partitions, two candidates
CREATE TABLE ws.work (id int PRIMARY KEY, phase ws.phase, tax_status text)
	PARTITION BY RANGE (id);
CREATE TABLE ws.work_1 PARTITION OF ws.work DEFAULT;
-- numbers, and nothing known yet
CREATE TABLE ws.transfers (id int PRIMARY KEY, status smallint);
-- not orders, or not to be known
CREATE TABLE ws.addresses (id int PRIMARY KEY, state text);
INSERT INTO ws.addresses VALUES (1, 'CA'), (2, 'NY');
CREATE TABLE ws.no_key (id int, status ws.order_status);
CREATE TEMP TABLE temporary (id int PRIMARY KEY, status ws.order_status);
CREATE VIEW ws.view AS SELECT * FROM ws.orders;

SELECT relation, status, statement FROM order_guard.suggest();
SELECT count(*) AS suggested FROM order_guard.suggest() \gset
DO $$
DECLARE
	s record;
BEGIN
	FOR s IN SELECT statement FROM order_guard.suggest() LOOP
		EXECUTE s.statement;
	END LOOP;
END
$$;

-- what is watched is not suggested
SELECT count(*) FROM order_guard.suggest();
SELECT relation_name, status, deadlines, terminal FROM order_guard.watches
ORDER BY relation_name;
SELECT order_guard.unwatch_all() = :suggested;
SET client_min_messages = warning;
DROP SCHEMA ws, "Sales-2" CASCADE;
