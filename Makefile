# order_guard
#
#   make, make install    build and install (PG_CONFIG=... chooses a version)
#   make installcheck     tests on a running server that preloads order_guard
#   make check            everything, on a private server of its own;
#                         TESTS="a b" and PROVE_TESTS=test/t/x.pl limit it
#   make check-17         the same in a chroot with PostgreSQL 17
#   make check-peers      with clients in other languages, pgbouncer, pgaudit,
#                         sqlsmith
#   make demo, bench      the demonstration, the measurement of the overhead
#   make torture          faults for DURATION=60 seconds from SEED=...; then
#                         every order is accounted for
#   DEBUG_FAULTS=1        build with injected failures

SCRIPTED = check check-17 check-peers demo bench torture

# These need no PostgreSQL yet, and PGXS has a "check" of its own that only
# says that it does not exist.
ifneq (,$(filter $(SCRIPTED),$(MAKECMDGOALS)))

export TESTS PROVE_TESTS DEBUG_FAULTS SCENES
# not their default when they are not given
ifdef DURATION
export DURATION
endif
ifdef SEED
export SEED
endif
ifdef SMITH_QUERIES
export SMITH_QUERIES
endif
ifdef PEERS
export PEERS
endif

check:
	@test/run/check.sh

check-17:
	@test/run/check-17.sh

check-peers:
	@test/run/check-peers.sh

demo:
	@test/demo/run

bench:
	@test/bench/overhead

torture:
	@test/torture/run

.PHONY: $(SCRIPTED)

else

EXTENSION = order_guard
MODULE_big = order_guard
# VERSION is PostgreSQL's own.
OG_VERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" \
	order_guard.control)

OBJS := $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
DATA := $(sort $(wildcard sql/order_guard--*--*.sql))
DATA_built = sql/order_guard--$(OG_VERSION).sql

PG_CPPFLAGS = -Isrc -DOG_VERSION='"$(OG_VERSION)"'
PG_CFLAGS = -Wall -Wextra -Werror \
	-Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
ifeq ($(DEBUG_FAULTS),1)
PG_CPPFLAGS += -DOG_FAULTS
endif

# expected/ is at the top.  Since PostgreSQL 16 pg_regress looks for it in
# the current directory, before that in the output directory.
names = $(sort $(basename $(notdir $(wildcard $(1)))))
SQL_TESTS := $(call names,test/sql/*.sql)
REGRESS := $(strip $(filter setup,$(SQL_TESTS)) \
	$(filter-out setup,$(SQL_TESTS)))
REGRESS_OPTS = --inputdir=test --outputdir=.
ISOLATION := $(call names,test/specs/*.spec)
ISOLATION_OPTS = --inputdir=test --outputdir=. \
	--load-extension=order_guard

EXTRA_CLEAN = results regression.diffs regression.out tmp_check

PG_CONFIG = pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(DATA_built): sql/order_guard.sql order_guard.control
	cp $< $@

# PGXS knows no dependencies on headers.
$(OBJS): $(wildcard src/*.h) Makefile

endif
