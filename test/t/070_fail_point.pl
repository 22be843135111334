# order_guard.fail_point cuts the connection before or after the commit of a
# token, and touches nothing else.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('fail_point');
my $lost = qr/server closed the connection unexpectedly/;

$node->safe_psql('postgres', q{
	CREATE TABLE sales (id integer PRIMARY KEY, token text UNIQUE,
		status text NOT NULL DEFAULT 'SUBMITTED');
	SELECT order_guard.watch('sales', 'status', token => 'token');
	CREATE TABLE bets (token uuid PRIMARY KEY, status text NOT NULL
		DEFAULT 'SUBMITTED');
	SELECT order_guard.watch('bets', 'status', token => 'token');
	CREATE ROLE clerk LOGIN;
	GRANT ALL ON sales, bets TO clerk;
	CREATE ROLE tester LOGIN});
scan($node);

# Runs a script; returns what psql complains of.
sub errors
{
	my ($sql, %options) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, on_error_stop => 0,
		extra_params => [ '-U', $options{as} // getpwuid $< ]);
	return $err;
}

sub answer
{
	my ($token) = @_;
	return $node->safe_psql('postgres', "SELECT outcome, sqlstate, reason
		FROM order_guard.outcome('$token')");
}

# Its transaction id has left the proc array when nobody has it in flight.
sub settled
{
	my ($token) = @_;
	$node->poll_query_until('postgres', "SELECT outcome <> 'in_flight'
		FROM order_guard.outcome('$token')") or die 'it stays in flight';
	return answer($token);
}

sub sale
{
	my ($id, $point, $token) = @_;
	return errors("SET order_guard.fail_point = '$point';
		INSERT INTO sales VALUES ($id, '$token')");
}

# before the commit
like(my $heard = sale(1, 'before-commit:web-1', 'web-1'), $lost,
	'the connection is lost');
unlike($heard, qr/FATAL|ERROR|fail_point/, 'without a word');
is( settled('web-1'),
	'rolled_back|08006|the connection broke before COMMIT', 'rolled back');
is($node->safe_psql('postgres', 'SELECT count(*) FROM sales'), 0, 'no row');
$node->wait_for_log(qr/FATAL: .*fail_point cut the connection before/);
is(sale(1, 'before-commit:web-2', 'web-1'), '', 'another token is spared');

# after it
my $offset = -s $node->logfile;
like(sale(2, 'after-commit:web-2', 'web-2'), $lost, 'lost');
is(settled('web-2'), 'committed||', 'and committed');
$node->wait_for_log(qr/LOG: .*will cut the connection after/, $offset);
$node->poll_query_until('postgres', q{SELECT count(*) = 1
	FROM pg_stat_activity WHERE backend_type = 'client backend'});
pass('the backend ends by itself');

# of a whole transaction, in which other statements follow
like(errors(q{SET order_guard.fail_point = 'after-commit:web-3';
	BEGIN; INSERT INTO sales VALUES (3, 'web-3'); SELECT 1; COMMIT; SELECT 2}),
	$lost, 'a longer transaction');
is(settled('web-3'), 'committed||', 'committed');
is(errors(q{SET order_guard.fail_point = 'before-commit:web-4';
	BEGIN; INSERT INTO sales VALUES (4, 'web-4'); ROLLBACK;
	INSERT INTO sales VALUES (5, 'web-5')}), '',
	'what was rolled back leaves nothing behind');
is(errors(q{SET order_guard.fail_point = 'before-commit:*';
	BEGIN; INSERT INTO sales VALUES (6, 'web-6');
	PREPARE TRANSACTION 'p6'; INSERT INTO sales VALUES (7, NULL);
	COMMIT PREPARED 'p6'}), '', 'nor does PREPARE, and NULL is no token');
like(errors(q{SET order_guard.fail_point = 'before-commit:web-2';
	UPDATE sales SET status = 'PAID' WHERE id = 2}), $lost, 'an update');
is($node->safe_psql('postgres', 'SELECT status FROM sales WHERE id = 2'),
	'SUBMITTED', 'is rolled back');
like(errors(q{BEGIN; SET LOCAL order_guard.fail_point = 'before-commit:*';
	DELETE FROM sales WHERE id = 2; COMMIT}), $lost, 'a deletion');

# any token, each once
like(sale(10, 'once before-commit:*', 'web-10'), $lost, 'the first time');
is(sale(10, 'once before-commit:*', 'web-10'), '', 'not the second');
like(sale(11, 'once before-commit:*', 'web-11'), $lost, 'another token is');
like(sale(12, 'once after-commit:*', 'web-12'), $lost, 'after the commit');
is(errors(q{SET order_guard.fail_point = 'once after-commit:web-12';
	UPDATE sales SET status = 'PAID' WHERE id = 12}), '', 'once, too');

# tokens of other types
my $uuid = 'c0ffee00-0000-4000-8000-000000000001';
like(errors("SET order_guard.fail_point = 'after-commit:$uuid';
	INSERT INTO bets VALUES ('$uuid')"), $lost, 'a token that is a uuid');
$uuid =~ s/1$/2/;
is(errors("SET order_guard.fail_point = 'after-commit:web';
	INSERT INTO bets VALUES ('$uuid')"), '', 'another one');

# who may
like(errors(q{SET order_guard.fail_point = 'after-commit:*'}, as => 'clerk'),
	qr/permission denied to set parameter/, 'not everybody may');
$node->safe_psql('postgres',
	q{ALTER ROLE clerk SET order_guard.fail_point = 'once before-commit:*'});
my $sale = q{INSERT INTO sales VALUES (20, 'web-20')};
like(errors($sale, as => 'clerk'), $lost, 'set for a role');
is(errors($sale, as => 'clerk'), '', 'and the second attempt arrives');
is(errors(q{INSERT INTO sales VALUES (21, 'web-21')}), '',
	'others are not affected');
$node->safe_psql('postgres',
	q{ALTER SYSTEM SET order_guard.fail_point = 'after-commit:web-22'});
$node->reload;
like(errors(q{INSERT INTO sales VALUES (22, 'web-22')}), $lost,
	'set for all');
$node->safe_psql('postgres', q{ALTER SYSTEM RESET order_guard.fail_point});
$node->reload;

# what is not understood
for my $bad ('web-1', 'before-commit', 'before-commit:', 'twice after-commit:*')
{
	like(errors("SET order_guard.fail_point = '$bad'"),
		qr/invalid value for parameter.*\n.*It has to be "before-commit:TOKEN"/,
		"refused: $bad");
}
is(errors(q{SET order_guard.fail_point = '';
	INSERT INTO sales VALUES (30, 'web-30')}), '', 'empty is none');

# Every answer is the table's.
is( $node->safe_psql('postgres', q{SELECT string_agg(s.token, ' ')
		FROM sales s, order_guard.outcome(s.token) o
		WHERE o.outcome <> 'committed'}), '', 'all rows have the right answer');
$node->stop('fast');
done_testing();
