package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"
)

const (
	// roundDisk is the size of the disk of a round on one that can be filled, in MiB.
	roundDisk = 512
	// togetherRate is the number of writes in a second that the disk does when everything comes together.
	togetherRate = 10 * diskRate
	// togetherCount is how many nemeses come together with harmed links, little memory, few descriptors and a slow disk.
	togetherCount = 8
)

// TestUnderAllNemesesNothingIsLostOrDoneTwice is a bank run as Jepsen makes them. In each round a gateway begins anew, all nemeses
// that the machine can make befall it in an order that is drawn, and then they come together. After each, what clients were told is
// joined with the journal. GATEWAY_NEMESES, as in "10m", says for how long.
func TestUnderAllNemesesNothingIsLostOrDoneTwice(t *testing.T) {
	text, ok := os.LookupEnv("GATEWAY_NEMESES")
	if !ok {
		t.Skip("SKIPPED: GATEWAY_NEMESES is not set; make torture sets it")
	}
	length, err := time.ParseDuration(text)
	if err != nil || length <= 0 {
		t.Fatalf("GATEWAY_NEMESES=%q: want a duration: %v", text, err)
	}
	seed, figures := drawSeed(t), newTally()
	began, rounds := time.Now(), 0
	for ; rounds == 0 || time.Since(began) < length; rounds++ {
		passed := t.Run("round "+strconv.Itoa(rounds), func(t *testing.T) {
			o, nemeses := prepareRound(t, seed+uint64(rounds), rounds, figures)
			for _, i := range o.random.Perm(len(nemeses)) {
				o.endure(nemeses[i])
			}
			o.endure(nemesisTogether)
			o.conclude()
		})
		if !passed {
			t.Fatalf("round %d of seed %d", rounds, seed)
		}
	}
	t.Logf("rounds: %d in %v", rounds, time.Since(began).Round(time.Second))
	figures.judge(t)
}

// prepareRound begins a round: every second one on a small disk that can be filled.
func prepareRound(t *testing.T, seed uint64, n int, figures *tally) (*ordeal, []nemesis) {
	t.Helper()
	dir, all := t.TempDir(), []nemesis{
		nemesisKill, nemesisKillInRecovery, nemesisStop, nemesisPause, nemesisLinks, nemesisSlowSyncs, nemesisFewDescriptors,
	}
	isSmall := false
	if n%2 == 1 {
		small, reason := mountSmallDisk(t, roundDisk)
		if reason != "" {
			t.Logf("SKIPPED: %s: %s", nemesisFullDisk.name, reason)
		} else {
			dir, all, isSmall = small, append(all, nemesisFullDisk), true
		}
	} else {
		all = append(all, nemesisSlowDisk, nemesisLittleMemory, nemesisNoMemory)
	}
	o := newOrdeal(t, dir, seed, figures)
	o.small = isSmall
	var can []nemesis
	for _, each := range all {
		if each.lacks != nil {
			if reason := each.lacks(o); reason != "" {
				t.Logf("SKIPPED: %s: %s", each.name, reason)
				continue
			}
		}
		can = append(can, each)
	}
	return o, can
}

// nemesisTogether lets nemeses follow one another, while links are harmed, on a gateway with few descriptors, and little memory
// before a slow disk where that can be had; on a small disk, it fills up in between.
var nemesisTogether = nemesis{name: "all together", strike: func(o *ordeal) {
	within := processLimits{files: fewFiles}
	if lacksSlowDisk(o) == "" && lacksControlGroup("memory")(o) == "" {
		within.groups = []string{
			o.group("memory", "memory.limit_in_bytes", strconv.Itoa(memoryMost)),
			o.group("blkio", "blkio.throttle.write_iops_device", fmt.Sprintf("%s %d", diskOf(o.t, o.dir), togetherRate)),
		}
	}
	o.end(syscall.SIGTERM)
	o.restart(within)
	over, random := make(chan struct{}), rand.New(rand.NewPCG(o.random.Uint64(), 0))
	harmed := make(chan struct{})
	go func() {
		defer close(harmed)
		for {
			select {
			case <-over:
				return
			default:
				o.swizzle(random)
			}
		}
	}()
	some := []nemesis{nemesisKill, nemesisKillInRecovery, nemesisStop, nemesisPause}
	for range togetherCount {
		free := func() {}
		if o.small {
			free = o.fill()
		}
		<-time.After(o.upTo(ordealRest))
		free()
		some[o.random.IntN(len(some))].strike(o)
	}
	close(over)
	<-harmed
	o.end(syscall.SIGTERM)
	o.restart(processLimits{})
}}
