# A prepared transaction that holds orders is told of until it is finished, by
# whomever, also after the server went down; who waits for it makes it worse.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('prepared', q{
wal_level = replica
max_wal_senders = 2
});
my $told = q{SELECT state, severity, count, evidence ->> 'gid',
	evidence ->> 'survived_restart', evidence ->> 'backends_behind', resolution
	FROM order_guard.incidents WHERE kind = 'prepared' ORDER BY id};

sub told
{
	my ($what, @expected) = @_;
	scan($node);
	is($node->safe_psql('postgres', $told), join("\n", @expected), $what);
	return;
}

sub prepare
{
	my ($key, $gid) = @_;
	$node->safe_psql('postgres', "BEGIN;
		INSERT INTO orders VALUES ($key, 'SUBMITTED', 5);
		UPDATE orders SET status = 'PAID' WHERE id = 100;
		PREPARE TRANSACTION '$gid'");
	return;
}

$node->safe_psql('postgres', q{INSERT INTO orders VALUES (100, 'SUBMITTED');
	CREATE ROLE batch SUPERUSER LOGIN;
	ALTER ROLE batch SET order_guard.prepared_threshold = '1h';
	ALTER SYSTEM SET order_guard.prepared_threshold = '1ms';
	SELECT pg_reload_conf()});

# Those who wait, those who wait for them, but not for another transaction.
$node->safe_psql('postgres', q{BEGIN; INSERT INTO orders VALUES (9, 'PAID');
	PREPARE TRANSACTION 'patient'}, extra_params => [ '-U', 'batch' ]);
prepare(1, 'one');
my @waiters = map { session($node) } 1 .. 2;
for my $waiter (@waiters)
{
	$waiter->send(q{UPDATE orders SET status = 'LATE' WHERE id = 100;});
	$node->poll_query_until('postgres', "SELECT count(*) = 1
		FROM pg_stat_activity WHERE pid = $waiter->{pid}
		AND wait_event_type = 'Lock'");
}
told('who waits behind it makes it critical',
	'open|critical|2|one|false|2|');
like( $node->safe_psql('postgres', q{SELECT summary
		FROM order_guard.incidents WHERE kind = 'prepared'}),
	qr/^2 orders of public\.orders are held by prepared transaction "one" of app "055_prepared.pl" \(user \w+\), .* ROLLBACK PREPARED for \d+ s; 2 more transactions wait behind it$/,
	'in words');
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'one'});
$_->quit for @waiters;
told('finished by another session',
	'cleared|critical|2|one|false|2|the prepared transaction was rolled back');
$node->safe_psql('postgres', q{DELETE FROM order_guard.incident});

# An orphan survives an immediate stop, before the worker has seen it.
prepare(2, 'two');
$node->stop('immediate');
$node->start;
told('an orphan survives an immediate stop', 'open|warning|2|two|true|0|');
my $said = $node->safe_psql('postgres', q{SELECT summary || ' '
	|| (evidence ->> 'hint') FROM order_guard.incidents
	WHERE kind = 'prepared'});
like($said, qr/it has survived a restart of the server/, 'it says so');
like($said, qr/COMMIT PREPARED 'two' .* DROP DATABASE fails/,
	'and how to get rid of it');
# A crash of a backend is a restart, too; the incident goes on.
my $session = session($node);
crash($node, $session->{pid});
$session->abandon;
told('and a crash', 'open|warning|2|two|true|0|');
$node->safe_psql('postgres', q{COMMIT PREPARED 'two'});
told('finished after restarts',
	'cleared|warning|2|two|true|0|the prepared transaction was committed');
is( $node->safe_psql('postgres', q{SELECT outcome, status
		FROM order_guard.outcome('orders', '2')}),
	'committed|SUBMITTED', 'its orders are there');
is( $node->safe_psql('postgres', q{SELECT count(*) FROM order_guard.attempts
		WHERE gid = 'two' OR key = '2'}), '0', 'and no attempts any more');

# Finished while the server's worker looks elsewhere, over a restart.
prepare(3, 'three');
$node->safe_psql('postgres', q{DELETE FROM order_guard.incident});
told('one more', 'open|warning|1|three|false|0|');
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'three'});
$node->stop('immediate');
$node->start;
is(scan_until($node, q{SELECT count(*) = 0 FROM order_guard.incidents
		WHERE kind = 'prepared' AND state = 'open'}), 1,
	'finished before a restart');
$node->safe_psql('postgres', q{DELETE FROM order_guard.incident});

# Killed after the transaction was prepared, before that was noted: in PREPARE
# that waits for a standby.
$node->safe_psql('postgres', q{
	ALTER SYSTEM SET synchronous_standby_names = 'nobody';
	ALTER ROLE batch SET synchronous_commit = 'local';
	ALTER SYSTEM SET synchronous_commit = 'local';
	SELECT pg_reload_conf()});
$session = session($node);
$session->send(q{SET synchronous_commit = on; BEGIN;
	INSERT INTO orders VALUES (4, 'SUBMITTED', 5);
	PREPARE TRANSACTION 'four';});
$node->poll_query_until('postgres', "SELECT count(*) = 1
	FROM pg_stat_activity WHERE pid = $session->{pid}
	AND wait_event = 'SyncRep'") or die 'PREPARE does not wait';
crash($node, $session->{pid});
$session->abandon;
told('killed in PREPARE', 'open|warning|1|four|true|0|');
is( $node->safe_psql('postgres', q{SELECT outcome, gid
		FROM order_guard.attempts WHERE key = '4'}), 'prepared|four',
	'its attempt has its name');
$node->safe_psql('postgres', q{COMMIT PREPARED 'four'});
told('and finished',
	'cleared|warning|1|four|true|0|the prepared transaction was committed');

# An orphan in another database keeps that from being dropped.
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', q{CREATE EXTENSION order_guard;
	CREATE TABLE orders (id int PRIMARY KEY, status text);
	SELECT order_guard.watch('orders', 'status', '{"NEW": "1 h"}');
	BEGIN; INSERT INTO orders VALUES (1, 'NEW');
	PREPARE TRANSACTION 'orphan'});
$node->stop('immediate');
$node->start;
$node->safe_psql('shop', 'SELECT order_guard.scan()');
is( $node->safe_psql('shop', q{SELECT evidence ->> 'database', count
		FROM order_guard.incidents WHERE kind = 'prepared'}),
	'shop|1', 'an orphan is told of in its database');
my ($rc, $out, $err) = $node->psql('postgres', 'DROP DATABASE shop');
like($err, qr/prepared transaction/, 'which cannot be dropped');
$node->safe_psql('shop', q{ROLLBACK PREPARED 'orphan'});
is($node->psql('postgres', 'DROP DATABASE shop'), 0, 'until it is finished');

# What had been rolled back before is an attempt whatever becomes of the rest.
$node->safe_psql('postgres', q{BEGIN; SAVEPOINT a;
	INSERT INTO orders VALUES (50, 'SUBMITTED'); ROLLBACK TO a;
	INSERT INTO orders VALUES (51, 'SUBMITTED'); PREPARE TRANSACTION 'part'});
my $part = q{SELECT key, outcome FROM order_guard.attempt
	WHERE key IN ('50', '51') ORDER BY key};
scan($node);
is($node->safe_psql('postgres', $part), "50|rolled_back\n51|prepared",
	'one was rolled back, one waits');
$node->safe_psql('postgres', q{COMMIT PREPARED 'part'});
scan($node);
is($node->safe_psql('postgres', $part), '50|rolled_back',
	'that stays when the other commits');
$node->stop('fast');
done_testing();
