# Commits race against settle(), as fast as they can: no token that was
# answered "settled" has a row, none that was answered "committed" lacks one,
# and no final answer ever changes.  OG_SETTLE_RACES says how many calls of
# settle() are made (default 20,000).
use strict;
use warnings;
use OrderGuard;
use POSIX 'WNOHANG';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'time';

my $races = $ENV{OG_SETTLE_RACES} // 20_000;
my $settlers = 6;
my $node = guarded_node('race', q{
fsync = off
max_prepared_transactions = 20
order_guard.naptime = '200ms'
log_min_messages = fatal
log_min_error_statement = fatal
});
$node->safe_psql('postgres', q{
	CREATE SEQUENCE n;
	CREATE TABLE tokened (id bigserial PRIMARY KEY, token text, status text);
	CREATE INDEX ON tokened (token);
	SELECT order_guard.watch('tokened', 'status', token => 'token',
		options => '{"settle": true, "vanished": "off"}');
	CREATE TABLE answer (token text, outcome text, final boolean);
});

# What a writer does, again and again: each a way to come to a commit.
my @ways = (
	q{INSERT INTO tokened (token, status) VALUES ('k' || nextval('n'), 'NEW');},
	q{BEGIN; INSERT INTO tokened (token, status)
		VALUES ('k' || nextval('n'), 'NEW'); COMMIT;},
	q{BEGIN; SAVEPOINT a; INSERT INTO tokened (token, status)
		VALUES ('k' || nextval('n'), 'NEW'); RELEASE a; COMMIT;},
	q{BEGIN; INSERT INTO tokened (token, status)
		SELECT 'k' || nextval('n'), 'NEW' FROM generate_series(1, 3); COMMIT;},
	q{BEGIN; INSERT INTO tokened (status) VALUES ('NEW') RETURNING id \gset
		UPDATE tokened SET token = 'k' || nextval('n') WHERE id = :id; COMMIT;},
	q{BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO tokened (token, status)
		VALUES ('k' || nextval('n'), 'NEW'); COMMIT;},
	q{BEGIN; INSERT INTO tokened (token, status)
		VALUES ('k' || nextval('n'), 'NEW');
		PREPARE TRANSACTION 'GID'; COMMIT PREPARED 'GID';},
	q{BEGIN; INSERT INTO tokened (token, status)
		VALUES ('k' || nextval('n'), 'NEW');
		PREPARE TRANSACTION 'GID'; ROLLBACK PREPARED 'GID';},
	q{SET synchronous_commit = off; INSERT INTO tokened (token, status)
		VALUES ('k' || nextval('n'), 'NEW'); RESET synchronous_commit;},
	q{BEGIN; INSERT INTO tokened (token, status)
		VALUES ('k' || nextval('n'), 'NEW'); ROLLBACK;});

# A psql that runs a file and goes on after errors; its process.
sub client
{
	my ($file) = @_;
	my $pid = fork // die "fork: $!";

	return $pid if $pid;
	open STDOUT, '>', '/dev/null' or die $!;
	open STDERR, '>', '/dev/null' or die $!;
	exec 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', $file;
}

sub has_ended
{
	return waitpid($_[0], WNOHANG) != 0;
}

sub write_file
{
	my ($name, $text) = @_;
	my $path = $node->basedir . "/$name";
	append_to_file($path, $text);
	return $path;
}

# The tokens that are used right now, and a few of the last and the next.
my $once = q{INSERT INTO answer SELECT t.token, s.outcome, s.final
	FROM (SELECT 'k' || last_value + floor(random() * 4)::int - 1 AS token
		FROM n) t
	CROSS JOIN LATERAL order_guard.settle(t.token, CANCEL) s;
};
my @settlers;
my $begun = time;
for my $i (1 .. $settlers)
{
	my $sql = $i == 1 ? $once =~ s/CANCEL/true/r : $once =~ s/CANCEL/false/r;
	# one without the right to end whom it dooms
	$sql = ($i == 1 ? "SET ROLE owner;\n" : '') .
	  $sql x ($races / $settlers + 1);
	push @settlers, write_file("settler$i", $sql);
}
$node->safe_psql('postgres', q{
	CREATE ROLE owner;
	ALTER TABLE tokened OWNER TO owner;
	GRANT ALL ON answer, n TO owner;
});
my @running = map { client($_) } @settlers;

# Writers go on until the last settler is through.
my $batch = 0;

sub start_writer
{
	my $sql = '';

	$batch++;
	for my $i (1 .. 400)
	{
		my $way = $ways[int rand @ways];
		$sql .= ($way =~ s/GID/g$batch.$i/gr) . "\n";
	}
	return client(write_file("writer$batch", $sql));
}
my @writers = map { start_writer() } 1, 2;
while (@running = grep { !has_ended($_) } @running)
{
	$_ = has_ended($_) ? start_writer() : $_ for @writers;
	select undef, undef, undef, 0.01;
}
waitpid $_, 0 for @writers;
my $seconds = time - $begun;

sub count
{
	return $node->safe_psql('postgres', "SELECT count(*) FROM $_[0]");
}
note sprintf '%d answers in %.1f s', count('answer'), $seconds;
note $node->safe_psql('postgres',
	'SELECT outcome, final, count(*) FROM answer GROUP BY 1, 2 ORDER BY 1, 2');
note count('tokened WHERE token IS NOT NULL'), ' rows';
cmp_ok(count('answer'), '>', $races * 0.9, 'settle() answers');
is(count(q{answer a WHERE outcome = 'settled'
	AND EXISTS (SELECT FROM tokened t WHERE t.token = a.token)}),
	0, 'no row of a token that was answered settled');
is(count(q{answer a WHERE outcome = 'committed' AND final
	AND NOT EXISTS (SELECT FROM tokened t WHERE t.token = a.token)}),
	0, 'a row of each token that was answered committed');
is(count(q{order_guard.settled s JOIN tokened t USING (token)}),
	0, 'no row of a token with a tombstone');
is(count(q{(SELECT FROM answer WHERE final GROUP BY token
	HAVING count(DISTINCT outcome) > 1) x}),
	0, 'no token with two final answers');
cmp_ok(count(q{answer WHERE outcome = 'settled'}), '>', $races / 100,
	'many were settled');
cmp_ok(count(q{answer WHERE outcome = 'committed'}), '>', $races / 100,
	'many were committed');
is($node->safe_psql('postgres',
		'SELECT errors FROM order_guard.stat_worker'), 0, 'no tick failed');
$node->stop('fast');
done_testing();
