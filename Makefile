# check is what every commit passes; the rest takes longer.
GO ?= go
FUZZTIME ?= 5s
export CGO_ENABLED ?= 1

.PHONY: check fmt vet lint test race powercut fuzz bench bench-postgres torture torture-process torture-storage torture-backup soak idle attack legacy bugbank mutants simulate properties

check: fmt vet lint race powercut simulate fuzz

fmt:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')) || exit 1; \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi

vet:
	$(GO) vet ./...

lint:
	$(GO) tool staticcheck ./...

test:
	$(GO) test ./...

race:
	$(GO) test -race ./...

# powercut is the journal's POINTS power cuts, of which the race detector has time for a few only.
POINTS ?= 100000
powercut:
	JOURNAL_POINTS=$(POINTS) $(GO) test -count=1 -timeout 0 -run TestPowerCutAtEveryOperation -v ./bank/journal

# properties draws CHECKS random cases of each property: histories, which both engines must judge as the model does, amounts at the
# ends of their range, and whatever is written and read back. The journal's histories, which a disk syncs, are a hundredth.
CHECKS ?= 100000
properties:
	$(GO) test -count=1 -timeout 0 ./bank ./packed ./wire -rapid.checks=$(CHECKS)
	$(GO) test -count=1 -timeout 0 -run ReadsBack ./transport/mqtt -rapid.checks=$(CHECKS)
	$(GO) test -count=1 -timeout 0 -run TestEngineJudgesAsTheSuiteDemands ./bank/journal -rapid.checks=$$(($(CHECKS) / 100))

# simulate runs the gateway in SEEDS worlds, beginning with the seed FIRST, and prints what happened in them. A world that breaks
# a promise prints the command that plays it again.
SEEDS ?= 10000
FIRST ?= 1
simulate:
	GOGC=400 SIMULATION_SEEDS=$(SEEDS) SIMULATION_FIRST=$(FIRST) $(GO) test -count=1 -timeout 0 -run '^TestSimulation$$' -v ./simulation

# fuzz runs every fuzz target for FUZZTIME each. Before Go 1.27 a target may fail of its own deadline (golang/go#75804): who did, and
# has found nothing, runs again.
fuzz:
	@set -e; log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	one() { \
		$(GO) test -run '^$$' -fuzz "^$$2$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$1 >"$$log" 2>&1 && failed= || failed=1; \
		cat "$$log"; \
		[ -z "$$failed" ]; \
	}; \
	packages=$$($(GO) list ./...); \
	for package in $$packages; do \
		list=$$($(GO) test -list '^Fuzz' $$package) || { echo "$$list"; exit 1; }; \
		for target in $$(echo "$$list" | grep '^Fuzz' || true); do \
			echo "fuzz $$package $$target $(FUZZTIME)"; \
			one $$package $$target || { \
				grep -q '^    context deadline exceeded$$' "$$log" && ! grep -q 'Failing input' "$$log" && one $$package $$target; \
			} || exit 1; \
		done; \
	done

# attack makes the attacks of SECURITY.md, on loopback, and prints their figures: "row: figure (aim)". It takes a few minutes, and
# the figures want a quiet machine.
attack:
	GATEWAY_ATTACK=1 $(GO) test -count=1 -p 1 -v -run '^Test[NXPA][0-9]' ./...

# bugbank plants each bug of ./bugbank and shows which check catches it, and in how many seconds; BUG=07 only that one. It takes
# some four minutes.
BUG ?=
bugbank:
	GATEWAY_BUGBANK=1 $(GO) test -count=1 -timeout 0 -v -run '^TestBugbank$$/^$(BUG)' ./bugbank

# torture is all that is done to the real binary: torture-process, torture-storage and torture-backup. Every row is "row: figure (aim)".
# Control groups, mounts, loop devices and strace want root; what cannot be had is skipped by its name.
torture: torture-process torture-storage torture-backup

# torture-process kills the real binary under load by both doors, KILLS times, and under devices whose MQTT sessions persist,
# SESSION_KILLS times, and joins what clients were told with the journal. Every nemesis befalls it by itself (a disk is filled FILLS
# times), and then, for NEMESIS_MINUTES, one after the other and all together. WINDOWS of 1,000 operations are judged from outside.
# GATEWAY_PAUSE=60s makes pauses as long as that, GATEWAY_SEED repeats the choices.
KILLS ?= 200
SESSION_KILLS ?= 500
NEMESIS_MINUTES ?= 2
WINDOWS ?= 50
FILLS ?= 20
torture-process:
	GATEWAY_TORTURE=$(KILLS) GATEWAY_SESSION_TORTURE=$(SESSION_KILLS) GATEWAY_NEMESES=$(NEMESIS_MINUTES)m \
		GATEWAY_WINDOWS=$(WINDOWS) GATEWAY_FILLS=$(FILLS) \
		$(GO) test -count=1 -timeout 0 -run '^Test(Torture|TortureOfSessions|Under.*|BlackBox)$$' -v ./cmd/gateway

# torture-storage does to the real binary what disks do: POWER_CUTS under each kind of clients, on a real ext4 mounted in turns with
# other options; LYING_DISKS that have not synced what they said; STRIKES at the system calls of its files, by default at every one
# in every way; FLIPS of bits at rest. It takes some 20 minutes.
POWER_CUTS ?= 1000
LYING_DISKS ?= 50
STRIKES ?= 1000000
FLIPS ?= 2000
torture-storage:
	GATEWAY_POWER_CUTS=$(POWER_CUTS) GATEWAY_LYING_DISKS=$(LYING_DISKS) GATEWAY_STRIKES=$(STRIKES) GATEWAY_FLIPS=$(FLIPS) \
		$(GO) test -count=1 -timeout 0 -run '^Test(PowerCuts|ALyingDisk|EveryCall|FlippedBits)' -v ./cmd/gateway

# torture-backup takes backups, and verifies, of a gateway that is loaded and killed, for so many rounds.
BACKUPS ?= 50
torture-backup:
	GATEWAY_BACKUP_TORTURE=$(BACKUPS) GATEWAY_VERIFY_TORTURE=$(BACKUPS) \
		$(GO) test -count=1 -timeout 0 -run '^TestTortureOf(Backups|Verify)$$' -v ./cmd/gateway

# legacy plays so many random operations of each of several kinds to the gateway and to the old bank's rules in Python, which
# must answer alike but for the differences that PROTOCOL.md names. A failure prints what GATEWAY_LEGACY repeats it.
legacy: OPERATIONS ?= 20000
legacy:
	GATEWAY_LEGACY=$(OPERATIONS) $(GO) test -count=1 -timeout 60m -v -run 'OldBank|EveryDifference' ./cmd/gateway

# soak lets so many clients ask for an operation a second by MQTT for so long, and prints what was lost, repeated and late,
# the time to the reply, and the gateway's memory.
soak: CLIENTS ?= 2000
soak: MINUTES ?= 10
soak:
	GATEWAY_SOAK="$(CLIENTS) $(MINUTES)m" $(GO) test -count=1 -timeout 0 -run '^TestSoak$$' -v ./cmd/gateway

# idle connects so many clients that say nothing, and prints the gateway's memory for each.
idle: CLIENTS ?= 10000
idle:
	GATEWAY_IDLE=$(CLIENTS) $(GO) test -count=1 -timeout 60m -run '^TestIdle$$' -v ./cmd/gateway

# mutants changes the code of PACKAGE in one small way after another and prints which changes its tests do not notice. Long
# tests are short at first (rapid makes a fifth of its checks then); what survives those and is not explained in
# mutants/explained.txt meets them at full length.
mutants: PACKAGE ?= ./bank
mutants:
	nice $(GO) run ./mutants -short "-test.short -rapid.checks=150" -again . $(PACKAGE) -rapid.nofailfile

# bench runs each thing beside its baseline, in turns within one run, and prints the ratios. It wants a quiet machine.
# ENTRIES is how long the journal is that is opened, verified and gone on with; 12000000 is what the goals speak of.
ENTRIES ?= 1000000
bench:
	JOURNAL_ENTRIES=$(ENTRIES) $(GO) test -run '^$$' -bench . -benchtime 3x -timeout 60m ./bank/journal
	$(GO) test -run '^$$' -bench . -skip AgainstPostgres -benchtime 5x -timeout 60m ./transport/socket ./transport/mqtt
	$(GO) test -run '^$$' -bench . ./bank ./pickle ./wire

# bench-postgres is the row against a broker, a worker and a database. It wants Debian's mosquitto and postgresql; without
# them it says so and is skipped.
bench-postgres:
	$(GO) test -v -run '^$$' -bench AgainstPostgres -benchtime 5x -timeout 60m ./transport/mqtt
