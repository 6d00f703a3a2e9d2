package evidence_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gateway/disk/disktest"
	"gateway/evidence"
)

// The power is cut before every operation of the disk, at heads and between them. Whatever is left, the gateway starts; every
// head that was told is there, or the journal would have been called cut; and what is made from then on is sound.
func TestPowerCutsAroundHeads(t *testing.T) {
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			d := disktest.New(seed)
			var told uint64 // the last head that was told
			var h *house
			cuts := 0
			d.Before = func(op disktest.Op) error {
				if h != nil && h.heads != nil && op.File == evidence.HeadsFile && op.Kind != disktest.Read {
					told = max(told, h.heads.Newest().Seq)
					cuts++
					if err := after(t, d.Fork(seed), seed, told); err != nil {
						t.Errorf("before %v: %v", op, err)
					}
				}
				return nil
			}
			h = build(t, d, evidence.Options{Every: time.Second})
			for range 6 {
				h.deposit(1 + int(seed))
				<-time.After(1500 * time.Millisecond)
			}
			h.stop()
			if cuts < 10 {
				t.Errorf("only %d cuts", cuts)
			}
		})
	}
}

// after cuts the power of a disk in several ways, each followed by another cut, and looks what is left.
func after(t *testing.T, d *disktest.Disk, seed, told uint64) error {
	for way := range uint64(6) {
		left, told := d.Fork(way), told
		for cut := range 2 {
			if cut > 0 || way%2 == 0 { // or the process was killed, and the system shows what the disk has not
				left.Cut(rand.New(rand.NewPCG(seed, way)))
			}
			g := &house{tb: t, fsys: left, options: evidence.Options{Every: never}, stop: func() {}}
			if err := g.open(); err != nil {
				return fmt.Errorf("seed %d, way %d, cut %d, head %d: %w", seed, way, cut, told, err)
			}
			if got := g.heads.Newest().Seq; got < told {
				g.close()
				return fmt.Errorf("seed %d, way %d, cut %d: the head of %d is lost, %d is left", seed, way, cut, told, got)
			}
			sure := left.Fork(way)
			sure.Cut(rand.New(rand.NewPCG(way, seed)))
			if newest := g.heads.Newest().Seq; newest > 0 && !strings.Contains(string(kept(sure)), fmt.Sprintf("\nseq %d\n", newest)) {
				g.close()
				return fmt.Errorf("seed %d, way %d, cut %d: the head of %d was told and is lost", seed, way, cut, newest)
			}
			g.deposit(1)
			g.stop()
			report, err := check(g.engine, kept(left), goldenKey(t).Public())
			told = g.heads.Newest().Seq
			g.close()
			if err != nil || report.Gaps > 0 || report.Last.Seq != told {
				return fmt.Errorf("seed %d, way %d, cut %d: %+v, %w", seed, way, cut, report, err)
			}
		}
	}
	return nil
}

// Every operation on the files of a first start may be the last one: the next start has a key, and the heads are its own.
func TestPowerCutsAtTheFirstStart(t *testing.T) {
	first := func(d *disktest.Disk) error {
		key, err := evidence.OpenKey(d, "gateway-test")
		if err != nil {
			return err
		}
		heads, err := evidence.Open(d, deposits(1), key, evidence.Options{})
		if err != nil {
			return err
		}
		return errors.Join(evidence.KeepPublicKey(d, key.Public()), heads.Close())
	}
	d := disktest.New(1)
	d.Before = func(op disktest.Op) error {
		for way := range uint64(8) {
			left := d.Fork(way)
			left.Cut(rand.New(rand.NewPCG(uint64(op.Index), way)))
			if err := first(left); err != nil {
				return fmt.Errorf("before %v: %w", op, err)
			}
			left.Cut(rand.New(rand.NewPCG(uint64(op.Index), way)))
			if !strings.HasPrefix(string(left.Bytes(evidence.KeyFile)), "PRIVATE+KEY+") || left.Bytes(evidence.PublicKeyFile) == nil {
				return fmt.Errorf("before %v: no key is left", op)
			}
		}
		return nil
	}
	if err := first(d); err != nil {
		t.Fatal(err)
	}
}
