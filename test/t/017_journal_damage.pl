# A journal damaged at any byte: no crash, no wrong order, the damage is
# counted and followed by a sweep.  A damaged header sets the file aside.
use strict;
use warnings;
use JournalFile;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('damage', q{
log_statement = none
});
my $session = session($node);
$session->query(q{BEGIN; INSERT INTO orders VALUES (7, 'SUBMITTED', 10);
	SAVEPOINT a; UPDATE orders SET status = 'PAYING'; ROLLBACK TO a});
$node->stop('immediate');
$session->abandon;

my $path = journal_of($node);
my $journal = JournalFile->load($path);
my @used = $journal->used;
is(@used, 1, 'one segment is in use');
my $model = $journal->segment($used[0]);

# As many orders as the segment has bytes, and in each another byte is wrong.
sub damage
{
	my ($bits, $first) = @_;
	my $n = 0;
	for my $number (0 .. $journal->count - 1)
	{
		my $at = $first + $n;
		last if $at == $model->{tail};
		$journal->put($number, $model, $model->{lease} + $number,
			($model->{lease} & ~0xFFFFFFFF) + 1000000 + $number);
		$journal->flip($number, $at, $bits);
		$n++;
	}
	$journal->save;
	return $n;
}

my $pristine = substr $journal->{bytes}, JournalFile::PAGE;
for my $bits (0x01, 0x80, 0xFF)
{
	my $first = 0;
	while ($first < $model->{tail})
	{
		$journal = JournalFile->load($path);
		substr($journal->{bytes}, JournalFile::PAGE) = $pristine;
		my $damaged = damage($bits, $first);
		my $what = sprintf 'bits %02x of bytes %d to %d', $bits, $first,
		  $first + $damaged - 1;
		$node->start;
		scan($node);
		is( $node->safe_psql('postgres', q{SELECT count(*)
				FROM order_guard.attempt WHERE key <> '7' OR operation <> 'I'
				AND NOT (operation = 'U' AND old_status = 'SUBMITTED')}),
			0, "$what: nothing is made up");
		my $corrupt = $node->safe_psql('postgres',
			'SELECT corrupt FROM order_guard.stat_worker');
		# A segment with another database's name, or none, is nobody's.
		cmp_ok($corrupt, '>=', $damaged - 8, "$what: $corrupt counted");
		scan($node);
		is( $node->safe_psql('postgres',
				'SELECT corrupt FROM order_guard.stat_worker'),
			$corrupt, "$what: once");
		ok( scan_until($node, q{SELECT bool_and(state = 'cleared')
				AND bool_or(evidence->>'gap' = 'journal damaged')
				FROM order_guard.incident WHERE kind = 'coverage'}),
			"$what: swept");
		$node->safe_psql('postgres', q{DELETE FROM order_guard.attempt;
			DELETE FROM order_guard.incident;
			UPDATE order_guard.position SET leases = '{}', consumed = '{}'});
		$node->stop('fast');
		$first += $damaged;
	}
}

# A header that is damaged, or of another version, is not believed.
sub set_aside
{
	my ($what, $code) = @_;
	my $offset = -s $node->logfile;
	$journal = JournalFile->load($path);
	$journal->put(0, $model, $model->{lease} + 1, 1);
	$code->();
	$journal->save;
	$node->start;
	ok($node->log_contains(qr/journal .* was set aside/, $offset),
		"$what: set aside");
	scan($node);
	is( $node->safe_psql('postgres', q{SELECT
			(SELECT count(*) FROM order_guard.attempt),
			(SELECT count(*) FROM order_guard.incident
			WHERE evidence->>'gap' = 'journal new')}),
		'0|1', "$what: not parsed, but told");
	is( JournalFile->load("$path.old")->{bytes}, $journal->{bytes},
		"$what: kept as it was");
	$node->safe_psql('postgres', 'DELETE FROM order_guard.incident');
	$node->stop('fast');
	return;
}

set_aside('damaged header', sub { substr($journal->{bytes}, 20, 1) ^= 'x' });
set_aside('another version', sub {
		substr($journal->{bytes}, 4, 4) = pack 'V', 1;
		$journal->seal_header;
});
set_aside('another data directory', sub {
		substr($journal->{bytes}, 24, 1) ^= 'x';
		$journal->seal_header;
});
set_aside('too short', sub { substr($journal->{bytes}, -1) = '' });
set_aside('empty', sub { $journal->{bytes} = '' });
done_testing();
