-- Names that need quotes, everywhere: in tables, columns, types, statuses.
SET client_min_messages = warning;
CREATE SCHEMA "Sales-EU";
CREATE TYPE "Sales-EU"."Order-State" AS ENUM ('in "payment"', 'it''s paid');
CREATE TABLE "Sales-EU"."order" (
	"group"			int,
	"user"			text,
	"orderState"	"Sales-EU"."Order-State",
	"total €"		numeric,
	"updated at"	timestamptz,
	"i""d\"			text UNIQUE,
	PRIMARY KEY ("group", "user")
);
SELECT order_guard.watch('"Sales-EU"."order"', 'orderState',
	'{"in \"payment\"": "1 us"}', '{it''s paid}', since => 'updated at',
	token => 'i"d\', amount => 'total €', customer => 'user') AS id \gset
CREATE VIEW names_incidents AS
SELECT kind, relation_name, key, status, amount, customer, state, resolution
FROM order_guard.incidents WHERE relation = '"Sales-EU"."order"'::regclass
ORDER BY id;
SELECT count(*) FROM order_guard.scan();
INSERT INTO "Sales-EU"."order"
VALUES (1, E'O"Neil, \\(x)', 'in "payment"', 1.5, '2020-01-01', 'a''b');
SELECT count(*) FROM order_guard.scan();
SELECT * FROM names_incidents;
BEGIN;
INSERT INTO "Sales-EU"."order"
VALUES (2, '', 'in "payment"', 2.5, '2020-01-01', E'\\');
ROLLBACK;
SELECT count(*) FROM order_guard.scan();
UPDATE order_guard.attempt SET judge_at = now()
WHERE watch = :id AND judge_at IS NOT NULL;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM names_incidents WHERE kind = 'vanished';

-- the token comes back under another key
BEGIN;
INSERT INTO "Sales-EU"."order"
VALUES (3, 'x', 'in "payment"', 2.5, '2020-01-01', 'tok "3"');
ROLLBACK;
UPDATE "Sales-EU"."order" SET "i""d\" = 'tok "3"';
SELECT count(*) FROM order_guard.scan();
UPDATE order_guard.attempt SET judge_at = now()
WHERE watch = :id AND judge_at IS NOT NULL;
SELECT count(*) FROM order_guard.scan();
SELECT key, verdict FROM order_guard.attempt WHERE watch = :id ORDER BY id;

UPDATE "Sales-EU"."order" SET "orderState" = 'it''s paid';
SELECT count(*) FROM order_guard.scan();
SELECT kind, key, state, resolution FROM names_incidents;
SELECT last_error, coverage FROM order_guard.watches WHERE id = :id;
SELECT order_guard.unwatch('"Sales-EU"."order"');
DROP SCHEMA "Sales-EU" CASCADE;
