# shellcheck shell=bash
#
# lib.sh: what the measurements share.  Source it after test/run/lib.sh.
#
#   bench_server         build, install, start a server made for measuring;
#                        sets POSTMASTER to its process id
#   bench_open           start the psql that run() talks to: one session for
#                        all, so that it is not counted with the application
#   run SQL              the answer, unaligned; fails if there is an error
#   worker_pid           process id of order_guard's worker
#   anon_kb PID          its memory in kB, shared buffers left out
#   median, worst        of numbers on standard input, one in a line
#   interval             median and its 95 % confidence interval

bench_server()
{
	local source=$OG_TMP/src log=$OG_TMP/build.log

	og_packages
	og_copy_source "$source"
	og_private_tree "$OG_TMP/pg"
	og_build_install "$source" >"$log" 2>&1 || {
		tail -n 40 "$log"
		og_fail "it does not build"
	}
	og_start_server "$OG_TMP/data" <<'END'
fsync = on
synchronous_commit = off
shared_buffers = 512MB
max_wal_size = 16GB
checkpoint_timeout = 1h
checkpoint_completion_target = 0.9
autovacuum = off
jit = off
max_parallel_workers_per_gather = 0
END
	POSTMASTER=$(head -n 1 "$OG_TMP/data/postmaster.pid")
	export POSTMASTER
}

bench_open()
{
	coproc CONTROL {
		og_as_user psql -XqAtw -v ON_ERROR_STOP=1 2>&1
	}
	exec 7<&"${CONTROL[0]}" 8>&"${CONTROL[1]}"
}

run()
{
	local line
	printf '%s\n;\n\\echo -end-\n' "$*" >&8
	while IFS= read -r line <&7; do
		[ "$line" != -end- ] || return 0
		case $line in
		*ERROR:* | *FATAL:*) og_fail "$line" ;;
		esac
		printf '%s\n' "$line"
	done
	og_fail "the server is gone"
}

worker_pid()
{
	run "SELECT pid FROM pg_stat_activity
		WHERE backend_type = 'order_guard worker' AND
			datname = current_database()"
}

anon_kb()
{
	awk '$1 == "RssAnon:" { print $2 }' "/proc/$1/status"
}

median()
{
	sort -g | awk '{ x[NR] = $1 }
		END { if (NR) printf "%.4f\n",
			(x[int((NR + 1) / 2)] + x[int(NR / 2) + 1]) / 2 }'
}

worst()
{
	sort -g | tail -n 1
}

# No distribution is assumed: as many of the values lie above the median as
# below, so the interval between the k-th smallest and the k-th largest holds
# it with a probability that the binomial distribution gives.
interval()
{
	sort -g | awk '{ x[NR] = $1 }
		END {
			p = 0.5 ^ NR
			tail = 0
			for (k = 0; tail + p <= 0.025; k++) {
				tail += p
				p *= (NR - k) / (k + 1)
			}
			if (k == 0)
				k = 1
			printf "%.4f %.4f %.4f\n",
				(x[int((NR + 1) / 2)] + x[int(NR / 2) + 1]) / 2,
				x[k], x[NR + 1 - k]
		}'
}
