# Each way in which an order can fail has its own reason, also when the server
# log is silent.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('reasons', q{
deadlock_timeout = '10ms'
log_statement = none
});
$node->safe_psql('postgres', q{
	CREATE TABLE customers (id integer PRIMARY KEY);
	CREATE TABLE lines (id integer, orders integer
		REFERENCES orders DEFERRABLE INITIALLY DEFERRED);
	ALTER TABLE orders ADD customer integer REFERENCES customers,
		ADD CONSTRAINT positive CHECK (amount > 0);
	INSERT INTO orders SELECT g, 'SUBMITTED', 1 FROM generate_series(1, 9) g;
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
		$$BEGIN RAISE EXCEPTION 'not today' USING ERRCODE = 'OG001'; END$$;
	CREATE TABLE checked (id integer);
	CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON checked
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()});
scan($node);

my $key = 100;
my @log = ('', 'panic');

# Runs a script that fails with the order in it; the attempt says why.
sub fails
{
	my ($what, $expected, $script) = @_;
	for my $level (@log)
	{
		my ($with, $silent) = ref $expected ? @$expected : ($expected) x 2;
		$key++;
		(my $sql = $script) =~ s/KEY/$key/g;
		$sql = "SET log_min_messages = $level;\n$sql" if $level;
		# on_error_stop would end the session in the middle
		$node->psql('postgres', $sql, on_error_stop => 0);
		told($what . ($level && " ($level)"), $level ? $silent : $with);
	}
	return;
}

sub told
{
	my ($what, $expected) = @_;
	scan($node);
	is( $node->safe_psql('postgres', "SELECT cause, sqlstate, reason
			FROM order_guard.attempt WHERE key = '$key'"), $expected, $what);
	return;
}

my $insert = q{INSERT INTO orders VALUES (KEY, 'SUBMITTED', 1);};
my $silent_commit = 'error||the statement or its COMMIT failed';

# COMMIT said after an error, which is answered with ROLLBACK.
sub silent
{
	my ($sqlstate, $reason) = @_;
	return "silent rollback|$sqlstate|COMMIT was answered with ROLLBACK "
	  . "because an earlier statement had failed: $reason";
}

fails('ROLLBACK', 'rollback||the client rolled back',
	"BEGIN; $insert ROLLBACK;");
fails('an error in another statement', silent('22012', 'division by zero'),
	"BEGIN; $insert SELECT 1 / (id - id) FROM orders; SELECT 1; COMMIT;");
fails('the first error counts', 'error|22012|division by zero',
	"BEGIN; $insert SELECT 1 / (id - id) FROM orders; SELECT nosuch;
	 INSERT INTO orders VALUES (KEY); ROLLBACK;");
fails('a syntax error',
	[
		silent('42601', '... at or near "..."'),
		silent('', 'its error was not seen')
	],
	"BEGIN;\n$insert\nSELEC;\nCOMMIT;");
fails('a unique key', silent('23505',
		'duplicate key value violates unique constraint "orders_pkey"'),
	"$insert BEGIN; DELETE FROM orders WHERE id = KEY; $insert $insert COMMIT;"
	. 'DELETE FROM orders WHERE id = KEY');
fails('a foreign key', 'error|23503|insert or update on table "..." '
	  . 'violates foreign key constraint "orders_customer_fkey"',
	q{INSERT INTO orders VALUES (KEY, 'SUBMITTED', 1, 77)});
fails('a check', 'error|23514|new row for relation "..." '
	  . 'violates check constraint "positive"',
	q{INSERT INTO orders VALUES (KEY, 'SUBMITTED', -1)});
fails('not null', 'error|23502|null value in column "..." '
	  . 'of relation "..." violates not-null constraint',
	q{INSERT INTO orders VALUES (KEY, NULL, 1)});
fails('a deferred foreign key', [
		'error|23503|insert or update on table "..." '
		. 'violates foreign key constraint "lines_orders_fkey"',
		$silent_commit ],
	"BEGIN; $insert INSERT INTO lines VALUES (1, -1); COMMIT;");
fails('a deferred trigger',
	[ 'error|OG001|the application raised an error', $silent_commit ],
	"BEGIN; $insert INSERT INTO checked VALUES (1); COMMIT;");
fails('statement_timeout',
	silent('57014', 'canceling statement due to statement timeout'),
	"BEGIN; $insert SET LOCAL statement_timeout = 10;
	 SELECT pg_sleep(100); COMMIT;");
fails('raised in PL/pgSQL', 'error|P0001|the application raised an error',
	"DO \$\$BEGIN $insert RAISE 'secret'; END\$\$");

my $locker = session($node);
$locker->query(q{BEGIN; UPDATE orders SET amount = 2 WHERE id = 1});
fails('lock_timeout',
	silent('55P03', 'canceling statement due to lock timeout'),
	"BEGIN; $insert SET LOCAL lock_timeout = 10;
	 UPDATE orders SET amount = 3 WHERE id = 1; COMMIT;");
$locker->query('ROLLBACK');

# Two sessions against each other.
for my $level (@log)
{
	my ($one, $two) = (session($node), session($node));
	my $set = $level ? "SET log_min_messages = $level;" : '';
	my $suffix = $level && " ($level)";
	$key++;
	$one->query("$set BEGIN; UPDATE orders SET amount = 2 WHERE id = 1");
	$two->query("$set SET deadlock_timeout = '1h'; BEGIN;
		UPDATE orders SET amount = 2 WHERE id = 2");
	$two->send('UPDATE orders SET amount = 2 WHERE id = 1;');
	$node->poll_query_until('postgres', "SELECT count(*) = 1
		FROM pg_stat_activity WHERE pid = $two->{pid}
		AND wait_event_type = 'Lock'");
	$one->query("INSERT INTO orders VALUES ($key, 'SUBMITTED');
		UPDATE orders SET amount = 2 WHERE id = 2");
	$two->query('ROLLBACK');
	told("a deadlock$suffix", 'error|40P01|deadlock detected');

	$key++;
	$one->query("ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ;
		INSERT INTO orders VALUES ($key, 'SUBMITTED')");
	$two->query('UPDATE orders SET amount = amount + 1 WHERE id = 3');
	$one->query('UPDATE orders SET amount = amount + 1 WHERE id = 3; COMMIT');
	told("a serialization failure$suffix",
		silent('40001',
			'could not serialize access due to concurrent update'));

	$key++;
	$_->query('BEGIN ISOLATION LEVEL SERIALIZABLE;
		SELECT sum(amount) FROM orders') for $one, $two;
	$one->query("INSERT INTO orders VALUES ($key, 'SUBMITTED', 1)");
	$two->query('UPDATE orders SET amount = amount + 1 WHERE id = 4; COMMIT');
	$one->query('COMMIT');
	scan($node);
	like( $node->safe_psql('postgres', "SELECT cause, sqlstate
			FROM order_guard.attempt WHERE key = '$key'"),
		$level ? qr/^error\|(40001)?$/ : qr/^error\|40001$/,
		"a failure of SERIALIZABLE$suffix");
	$_->quit for $one, $two;
}
is( $node->safe_psql('postgres', q{SELECT count(*) FROM order_guard.attempt
		WHERE sqlstate = '25P02'}), 0, '25P02 is never the reason');
unlike( $node->safe_psql('postgres', 'SELECT reason FROM order_guard.attempt'),
	qr/secret|not today|77/, 'no reason tells a value');
$locker->quit;
$node->stop('fast');
done_testing();
