# What a sub-transaction or one of several transactions of a statement failed
# to do is told by itself.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('subtransactions');
$node->safe_psql('postgres', q{
	CREATE PROCEDURE place(first integer, last integer) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN first .. last LOOP
			INSERT INTO orders VALUES (i, 'SUBMITTED', 1);
			IF i % 2 = 0 THEN COMMIT; ELSE ROLLBACK; END IF;
		END LOOP;
	END$$;
	CREATE FUNCTION try(key integer, amount text) RETURNS void
	LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO orders VALUES (key, 'SUBMITTED', 1);
		UPDATE orders SET amount = try.amount::numeric WHERE id = key;
	EXCEPTION WHEN invalid_text_representation OR unique_violation THEN
	END$$});

my $last = 0;

# Runs a script, and compares the attempts that it left.
sub leaves
{
	my ($what, $script, @expected) = @_;
	my ($rc, $out, $err) =
	  $node->psql('postgres', $script, on_error_stop => 0);
	scan($node);
	is( $node->safe_psql('postgres', qq{SELECT key, operation, old_status,
			new_status, cause, sqlstate FROM order_guard.attempt
			WHERE id > $last ORDER BY key::integer, id}),
		join("\n", @expected), $what);
	$last = $node->safe_psql('postgres',
		'SELECT coalesce(max(id), 0) FROM order_guard.attempt');
	return;
}

sub orders
{
	return $node->safe_psql('postgres', "SELECT string_agg(id::text, ' '
		ORDER BY id) FROM orders WHERE id BETWEEN $_[0] AND $_[1]");
}

leaves('three levels', q{BEGIN;
	INSERT INTO orders VALUES (1, 'SUBMITTED');
	SAVEPOINT a; INSERT INTO orders VALUES (2, 'SUBMITTED');
	SAVEPOINT b; INSERT INTO orders VALUES (3, 'SUBMITTED');
	SAVEPOINT c; INSERT INTO orders VALUES (4, 'SUBMITTED');
	SELECT 1 / (id - id) FROM orders;
	ROLLBACK TO c; INSERT INTO orders VALUES (5, 'SUBMITTED');
	RELEASE b;
	ROLLBACK TO a; INSERT INTO orders VALUES (6, 'SUBMITTED');
	COMMIT},
	'2|I||SUBMITTED|rollback|', '3|I||SUBMITTED|rollback|',
	'4|I||SUBMITTED|error|22012', '5|I||SUBMITTED|rollback|');
is(orders(1, 9), '1 6', 'three levels: the rest commits');

leaves('an order that comes through after all', q{BEGIN;
	SAVEPOINT a; INSERT INTO orders VALUES (11, 'SUBMITTED');
	ROLLBACK TO a; INSERT INTO orders VALUES (11, 'SUBMITTED');
	COMMIT});
leaves('and one that fails twice', q{BEGIN;
	SAVEPOINT a; INSERT INTO orders VALUES (12, 'SUBMITTED');
	ROLLBACK TO a; INSERT INTO orders VALUES (12, 'SUBMITTED');
	ROLLBACK}, '12|I||SUBMITTED|rollback|');
leaves('an update within a savepoint', q{BEGIN;
	SAVEPOINT a; UPDATE orders SET status = 'PAID' WHERE id = 1;
	ROLLBACK TO a; COMMIT}, '1|U|SUBMITTED|PAID|rollback|');
is( $node->safe_psql('postgres',
		q{SELECT status FROM order_guard.tracked WHERE key = '1'}),
	'SUBMITTED', 'is not tracked');

leaves('caught in PL/pgSQL', q{BEGIN; SELECT try(21, '5'); SELECT try(22, 'x');
	SELECT try(23, 'y'); COMMIT},
	'22|I||SUBMITTED|error|22P02', '23|I||SUBMITTED|error|22P02');
is(orders(21, 29), '21', 'caught: the outer transaction commits');
leaves('refused and caught', q{BEGIN; SELECT try(21, '5'); COMMIT},
	'21|I||SUBMITTED|error|23505');
leaves('caught within what fails', q{BEGIN; SELECT try(24, 'x');
	SELECT try(25, '1'); ROLLBACK},
	'24|I||SUBMITTED|error|22P02', '25|I||SUBMITTED|rollback|');

leaves('COMMIT in a loop', 'CALL place(31, 36)',
	map { "$_|I||SUBMITTED|rollback|" } 31, 33, 35);
is(orders(31, 39), '32 34 36', 'COMMIT in a loop: each by itself');
leaves('an error after a COMMIT', q{DO $$BEGIN
	INSERT INTO orders VALUES (41, 'SUBMITTED'); COMMIT;
	INSERT INTO orders VALUES (42, 'SUBMITTED');
	PERFORM 1 / (id - id) FROM orders; END$$},
	'42|I||SUBMITTED|error|22012');
leaves('AND CHAIN', q{BEGIN; INSERT INTO orders VALUES (51, 'SUBMITTED');
	COMMIT AND CHAIN; INSERT INTO orders VALUES (52, 'SUBMITTED');
	ROLLBACK AND CHAIN; INSERT INTO orders VALUES (53, 'SUBMITTED');
	COMMIT AND CHAIN; INSERT INTO orders VALUES (54, 'SUBMITTED');
	SELECT 1 / (id - id) FROM orders; ROLLBACK},
	'52|I||SUBMITTED|rollback|', '54|I||SUBMITTED|error|22012');
is(orders(51, 59), '51 53', 'AND CHAIN: each by itself');

# One message with several statements is one transaction.
leaves('several statements at once',
	q{INSERT INTO orders VALUES (61, 'SUBMITTED')\;
	INSERT INTO orders VALUES (62, 'SUBMITTED')\;
	SELECT 1 / (id - id) FROM orders},
	map { "$_|I||SUBMITTED|error|22012" } 61, 62);

# Deeper than there is room reserved for: told as a whole.
my $deep = join '', map { "SAVEPOINT s$_; " } 1 .. 40;
leaves('40 levels', "BEGIN; $deep INSERT INTO orders VALUES (71, 'SUBMITTED');
	ROLLBACK TO s1; INSERT INTO orders VALUES (72, 'SUBMITTED'); COMMIT");
is(orders(71, 79), '72', '40 levels: no harm');
is( $node->safe_psql('postgres',
		'SELECT dropped > 0 FROM order_guard.stat_worker'), 't',
	'40 levels: counted');
leaves('1,000 savepoints one after another', 'BEGIN; '
	  . join('', map { "SAVEPOINT s; INSERT INTO orders
		VALUES ($_, 'SUBMITTED'); ROLLBACK TO s; RELEASE s; " } 1001 .. 2000)
	  . 'COMMIT',
	map { "$_|I||SUBMITTED|rollback|" } 1001 .. 2000);
# A session that is ended while it is idle: no statement failed.
my $idle = session($node);
$idle->query(q{SET idle_in_transaction_session_timeout = '1 ms'});
$idle->send(q{BEGIN\; SAVEPOINT a\; INSERT INTO orders VALUES (901, 'SUBMITTED')\;
	ROLLBACK TO a\; INSERT INTO orders SELECT 902, 'SUBMITTED' WHERE false;});
$node->poll_query_until('postgres', "SELECT count(*) = 0
	FROM pg_stat_activity WHERE pid = $idle->{pid}") or die 'it is not ended';
$idle->abandon;
scan($node);
is( $node->safe_psql('postgres', qq{SELECT key, sqlstate, cause
		FROM order_guard.attempt WHERE id > $last}), '901||rollback',
	'idle-in-transaction time-out: no statement failed');

$node->stop('fast');
done_testing();
