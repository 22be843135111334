-- The options verdicts and ask of a watch.
BEGIN;
CREATE SCHEMA og_shop;
CREATE TYPE og_shop.phase AS ENUM ('PAYING', 'PAID', 'FAILED');
CREATE TABLE og_shop.payments (id bigint PRIMARY KEY, status og_shop.phase);
CREATE FUNCTION og_shop.try(options jsonb, status text DEFAULT 'status')
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	hint text;
BEGIN
	PERFORM order_guard.watch('og_shop.payments', status,
		options => options);
	RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ' ' || message || CASE WHEN hint NOT LIKE 'Options%'
		THEN ': ' || hint ELSE '' END;
END
$$;

SELECT og_shop.try('{"verdicts": {"succeeded": "PAID", "failed": "FAILED"}}');
SELECT og_shop.try('{"verdicts": {"succeeded": "PAID"}}');
SELECT og_shop.try('{"verdicts": {}}');
SELECT og_shop.try('{"ask": []}');
SELECT og_shop.try('{"ask": ["1 m", "5 m", "15 m", "1 h", "1 d"]}');

SELECT og_shop.try('{"verdicts": {"succeeded": "PAYED"}}');
SELECT og_shop.try('{"verdicts": {"pending": "PAID"}}');
SELECT og_shop.try('{"verdicts": {"succeeded": "PAID", "failed": "PAID"}}');
SELECT og_shop.try('{"verdicts": {"succeeded": null}}');
SELECT og_shop.try('{"verdicts": {"succeeded": ""}}');
SELECT og_shop.try('{"verdicts": ["PAID"]}');
SELECT og_shop.try('{"verdicts": {"succeeded": "PAID"}}', '(status::text)');
SELECT og_shop.try('{"ask": "1 m"}');
SELECT og_shop.try('{"ask": ["soon"]}');
SELECT og_shop.try('{"ask": ["0 s"]}');
SELECT og_shop.try('{"ask": ["-1 m"]}');
SELECT og_shop.try('{"ask": ["2 years"]}');
SELECT og_shop.try('{"ask": [60]}');
SELECT og_shop.try(jsonb_build_object('ask', array_fill('1 m'::text, '{21}')));

SELECT order_guard._ask_schedule('{}');
SELECT order_guard._ask_schedule('{"ask": ["2 m", "1 s"]}');
SELECT cardinality(order_guard._ask_schedule('{"ask": []}'));
ROLLBACK;
