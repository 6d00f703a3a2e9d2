package mqtt_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gateway/bank"
	"gateway/bank/journal"
	"gateway/gate"
	"gateway/transport/mqtt"
	"gateway/wire"
)

// audited is a house with a journal. Whoever is anonymous in it is an auditor while trusted.
type audited struct {
	*house
	dir     string
	journal *journal.Engine
	trusted *atomic.Bool
	shelf   *shelf // nil: sessions live in memory
	door    *cutter
	change  func(*mqtt.Options)
}

// auditing builds a house for auditors. What it has told an auditor must be what its journal has at the end.
func auditing(t testing.TB, change func(*mqtt.Options)) *audited {
	t.Helper()
	a := &audited{dir: t.TempDir(), trusted: new(atomic.Bool), change: change}
	a.trusted.Store(true)
	a.moveIn(t, nil)
	return a
}

// auditingKept is auditing with sessions that survive.
func auditingKept(t testing.TB) *audited {
	t.Helper()
	a := &audited{dir: t.TempDir(), trusted: new(atomic.Bool), shelf: newShelf(t, nil)}
	a.trusted.Store(true)
	a.moveIn(t, nil)
	return a
}

// moveIn starts the house on what its directory has, and the records of its sessions.
func (a *audited) moveIn(t testing.TB, records [][]byte) {
	t.Helper()
	engine, err := journal.Open(a.dir, journal.Options{Rules: bank.Rules{CreateAccounts: true}, Decimals: 2, SegmentBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	a.journal = engine
	a.house = &house{t: t, log: new(syncedBuffer), banco: bank.New(engine, bank.Options{})}
	options := mqtt.Options{
		Decimals: 2, Anonymous: true, Journal: engine,
		Logger:  slog.New(slog.NewTextHandler(a.log, nil)),
		Auditor: func(principal string) bool { return principal == bank.AnonymousPrincipal && a.trusted.Load() },
	}
	if a.shelf != nil {
		options.Keeping = a.keeping(records)
	}
	if a.change != nil {
		a.change(&options)
	}
	if a.server, err = mqtt.New(a.banco, options); err != nil {
		t.Fatal(err)
	}
	a.door = &cutter{Listener: listen(t)}
	a.address = a.door.Addr().String()
	a.stop = a.run([]mqtt.Listener{{Net: a.door}})
	stop := a.stop
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (a *audited) keeping(records [][]byte) *mqtt.Keeping {
	recovery := mqtt.NewRecovery()
	for _, record := range records {
		if err := recovery.Record(record); err != nil {
			a.t.Fatal(err)
		}
	}
	if recovery.Began() {
		if err := a.journal.Entries(recovery.Seq(), recovery.Entry); err != nil {
			a.t.Fatal(err)
		}
	}
	return &mqtt.Keeping{Store: a.shelf, Recovery: recovery, Seq: a.journal.Seq}
}

// killed restarts the house after its process was killed at rest.
func (a *audited) killed() {
	a.t.Helper()
	a.shelf.settle()
	a.shelf.hold()
	a.door.sever()
	records := a.shelf.kill()
	if err := a.stop(); err != nil {
		a.t.Fatal(err)
	}
	if err := a.journal.Close(); err != nil {
		a.t.Fatal(err)
	}
	a.shelf.close()
	a.shelf = newShelf(a.t, records)
	a.moveIn(a.t, records)
}

// work makes the bank write n entries, without MQTT.
func (a *audited) work(n int) {
	a.t.Helper()
	for range n {
		answered := make(chan error, 1)
		op := bank.Operation{Kind: bank.KindDeposit, Principal: "p", Account: "w", Amount: 1}
		err := a.banco.Submit(context.Background(), op, func(_ bank.Reply, err error) { answered <- err })
		if err == nil {
			err = <-answered
		}
		if err != nil {
			a.t.Fatal(err)
		}
	}
}

// lines returns the entries from first to last as the dump has them.
func (a *audited) lines(first, last uint64) (lines []string) {
	a.t.Helper()
	var b strings.Builder
	encoder := wire.NewEntryEncoder(&b)
	_, err := journal.Dump(a.dir, func(e *bank.Entry, hash [32]byte) error {
		if e.Seq >= first && e.Seq <= last {
			return encoder.Encode(e, hash)
		}
		return nil
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// seq returns the seq of an entry that was told.
func (p *peer) seq(k packet) uint64 {
	p.t.Helper()
	var e wire.Entry
	if err := json.Unmarshal(k.payload, &e); err != nil || k.topic != mqtt.JournalTopic {
		p.t.Fatalf("%s: %q on %s: %v", p.id, k.payload, k.topic, err)
	}
	return e.Seq
}

// entry expects the entry with that seq and returns it.
func (p *peer) entry(seq uint64) packet {
	p.t.Helper()
	k := p.expect(tPublish)
	if got := p.seq(k); got != seq {
		p.t.Fatalf("%s: told of entry %d, want %d", p.id, got, seq)
	}
	return k
}

// An auditor is told every entry from its SUBACK on, as the dump tells it.
func TestAnAuditorIsToldTheJournal(t *testing.T) {
	for _, level := range []byte{3, 4, 5} {
		for qos := range byte(3) {
			t.Run(fmt.Sprintf("level %d QoS %d", level, qos), func(t *testing.T) {
				a := auditing(t, nil)
				a.work(3)
				p, _ := enter(t, a.address, hello{id: "audit", level: level})
				if k := p.subscribe(1, mqtt.JournalTopic, qos); !slices.Equal(k.granted, []byte{qos}) {
					t.Fatalf("granted %v", k.granted)
				}
				a.work(40)
				for i, want := range a.lines(4, 43) {
					k := p.entry(uint64(4 + i))
					if string(k.payload) != want || k.qos() != min(qos, 1) || k.dup() || k.flags&1 == 1 {
						t.Fatalf("flags %x: %s, want %s", k.flags, k.payload, want)
					}
					if level == 5 && (k.properties[0x03] != "application/json" || len(k.properties) != 1) {
						t.Errorf("properties %v", k.properties)
					}
					if qos > 0 {
						p.puback(k.id)
					}
				}
				p.quiet()
			})
		}
	}
}

// opened waits until so many places are taken.
func opened(t *testing.T, places *gate.Gate, want int) {
	t.Helper()
	for deadline := time.Now().Add(patience); places.Open() != want; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d places are taken, want %d", places.Open(), want)
		}
	}
}

// An auditor that hears the journal has a file open besides its socket, and counts as two connections. Where there is no room for
// two it is told so.
func TestWhoHearsTheJournalCountsTwice(t *testing.T) {
	places := gate.New(gate.Limits{Connections: 3})
	a := auditing(t, func(o *mqtt.Options) { o.Gate = places })
	first, _ := enter(t, a.address, hello{id: "first"})
	first.subscribe(1, mqtt.JournalTopic, 0)
	opened(t, places, 2) // else the second may be first to have the last
	second, _ := enter(t, a.address, hello{id: "second"})
	second.subscribe(1, mqtt.JournalTopic, 0)
	second.gone(0x97)
	second.conn.Close()
	a.work(1)
	first.entry(1)
	first.send([]byte{tDisconnect << 4, 0})
	first.gone(0)
	opened(t, places, 0)
	third, _ := enter(t, a.address, hello{id: "third"})
	third.subscribe(1, mqtt.JournalTopic, 0)
	a.work(1)
	third.entry(2)
}

// No more entries are on their way than Receive Maximum, replies to the auditor's own operations included, which go first;
// and no packet id is used twice.
func TestEntriesAndRepliesShareTheWindow(t *testing.T) {
	a := auditing(t, nil)
	p, _ := enter(t, a.address, hello{id: "audit", properties: property(0x21, uint16(3))})
	p.subscribe(1, "#", 1)
	a.work(10)
	ids := map[uint16]bool{}
	take := func(seq uint64) uint16 {
		t.Helper()
		k := p.entry(seq)
		if k.qos() != 1 || k.id == 0 || ids[k.id] {
			t.Fatalf("entry %d: flags %x, packet id %d again", seq, k.flags, k.id)
		}
		ids[k.id] = true
		return k.id
	}
	first, second := take(1), take(2)
	take(3)
	p.quiet()
	p.publish(note{qos: 1, id: 7, payload: `{"op":"balance","account":"w"}`}, note{qos: 1, id: 8, payload: `{"op":"balance","account":"w"}`})
	for range 4 { // two copies and two acknowledgements
		if k := p.next(); k.kind == tPublish && (k.topic != "bank/ops" || k.qos() != 0) || k.kind != tPublish && k.kind != tPuback {
			t.Fatalf("packet type %d on %q", k.kind, k.topic)
		}
	}
	p.quiet()
	p.puback(first)
	p.puback(second)
	replied := [2]packet{p.expect(tPublish), p.expect(tPublish)}
	p.quiet()
	for i, k := range replied {
		if k.topic != "bank/replies/audit" || k.qos() != 1 || ids[k.id] {
			t.Fatalf("%s with packet id %d", k.topic, k.id)
		}
		p.puback(k.id)
		take(uint64(4 + i))
		p.quiet()
	}
}

// Where the packet ids of entries and those of replies meet, an entry takes another, and a reply waits.
func TestPacketIDsOfEntriesAndRepliesMeet(t *testing.T) {
	a := auditing(t, nil)
	p, _ := enter(t, a.address, hello{id: "audit"})
	p.subscribe(1, "bank/journal", 1)
	p.subscribe(1, "bank/replies/audit", 1)
	balance := note{qos: 1, id: 7, payload: `{"op":"balance","account":"w"}`}
	p.publish(balance)
	p.ack(tPuback, 7, 0)
	first := p.expect(tPublish) // and is not acknowledged
	a.server.EntryIDsFrom("audit", first.id+1)
	a.work(2)
	if k := p.entry(1); k.id != first.id+1 {
		t.Fatalf("packet id %d, want %d", k.id, first.id+1)
	}
	if k := p.entry(2); k.id == first.id {
		t.Fatalf("packet id %d is the reply's", k.id)
	}
	p.publish(balance)
	p.ack(tPuback, 7, 0)
	p.quiet()
	p.puback(first.id + 1)
	if k := p.expect(tPublish); k.topic != "bank/replies/audit" || k.id != first.id+1 {
		t.Errorf("%s with packet id %d", k.topic, k.id)
	}
}

// An auditor that comes back to its session is sent again what it has not acknowledged, with DUP and the same packet ids,
// and then what came meanwhile.
func TestTheJournalGoesOnWhereTheSessionWas(t *testing.T) {
	for _, level := range []byte{4, 5} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			a := auditing(t, nil)
			p, _ := enter(t, a.address, keeps(level, "audit"))
			p.subscribe(1, "bank/journal", 1)
			a.work(5)
			ids := map[uint64]uint16{}
			for seq := uint64(1); seq <= 5; seq++ {
				ids[seq] = p.entry(seq).id
			}
			p.puback(ids[1])
			p.puback(ids[3])
			p.quiet()
			for round := range uint64(2) {
				p.conn.Close()
				a.server.AwaitDetached("audit")
				a.work(4)
				p, _ = enter(t, a.address, keeps(level, "audit"))
				for _, seq := range []uint64{2, 4, 5} {
					if k := p.entry(seq); !k.dup() || k.id != ids[seq] || k.qos() != 1 {
						t.Errorf("entry %d: flags %x, packet id %d, it was %d", seq, k.flags, k.id, ids[seq])
					}
				}
				for seq := uint64(6); seq <= 9+4*round; seq++ {
					k := p.entry(seq)
					if again := seq < 6+4*round; k.dup() != again || again && k.id != ids[seq] {
						t.Errorf("entry %d: flags %x, packet id %d", seq, k.flags, k.id)
					}
					ids[seq] = k.id
				}
				p.quiet()
			}
			for _, id := range ids {
				p.puback(id)
			}
			p.quiet()
			p.conn.Close()
			a.server.AwaitDetached("audit")
			a.work(1)
			p, _ = enter(t, a.address, keeps(level, "audit"))
			if k := p.entry(14); k.dup() {
				t.Error("DUP on what was never sent")
			}
		})
	}
}

// The link breaks again and again while the bank works and the auditor acknowledges some of what it reads. It misses no entry,
// and sees one again only with DUP and the same packet id.
func TestTheJournalOverALinkThatBreaks(t *testing.T) {
	a := auditing(t, nil)
	h := keeps(5, "audit")
	h.properties = append(h.properties, property(0x21, uint16(7))...)
	p, _ := enter(t, a.address, h)
	p.subscribe(1, "bank/journal", 1)
	const last = 600
	done := func(bank.Reply, error) {}
	seen, acked := map[uint64]uint16{}, map[uint64]bool{}
	newest, links := uint64(0), 1
	for submitted := 0; newest < last; links++ {
		for n := min(1+rand.IntN(60), last-submitted); n > 0; n-- {
			submitted++
			op := bank.Operation{Kind: bank.KindDeposit, Principal: "p", Account: "w", Amount: 1}
			if err := a.banco.Submit(context.Background(), op, done); err != nil {
				t.Fatal(err)
			}
		}
		before, outstanding := uint64(0), 0
		for n := rand.IntN(40); n > 0 && newest < uint64(submitted) && outstanding < 7; n-- {
			k := p.expect(tPublish)
			seq := p.seq(k)
			id, again := seen[seq]
			if seq <= before || again && (!k.dup() || k.id != id) || !again && seq != newest+1 {
				t.Fatalf("link %d: entry %d after %d, of %d; flags %x, packet id %d, was %d", links, seq, before, newest, k.flags, k.id, id)
			}
			for missed := before + 1; missed < seq; missed++ {
				if _, sent := seen[missed]; before > 0 && sent && !acked[missed] {
					t.Fatalf("link %d: entry %d was passed over", links, missed)
				}
			}
			before, seen[seq], newest = seq, k.id, max(newest, seq)
			outstanding++
			if rand.IntN(4) > 0 {
				p.puback(k.id)
				acked[seq] = true
				outstanding--
			}
		}
		p.conn.Close()
		a.server.AwaitDetached("audit")
		p, _ = enter(t, a.address, h)
	}
	t.Logf("%d entries over %d links", last, links)
}

// After a restart of the gateway the session's subscription is there, and the journal is told from its end on; packet ids
// do not meet those of replies that wait.
func TestAfterARestartTheJournalBeginsAtItsEnd(t *testing.T) {
	a := auditingKept(t)
	h := keeps(5, "audit")
	p, _ := enter(t, a.address, h)
	p.subscribe(1, "#", 1|1<<2) // NoLocal
	a.work(3)
	for seq := uint64(1); seq <= 3; seq++ {
		p.entry(seq)
	}
	p.publish(note{qos: 1, id: 9, payload: `{"op":"balance","account":"w"}`})
	var reply packet
	for reply.topic != "bank/replies/audit" {
		reply = p.next()
	}
	a.killed()
	p, _ = enter(t, a.address, h)
	if k := p.expect(tPublish); k.topic != reply.topic || k.id != reply.id || !k.dup() {
		t.Fatalf("%s, packet id %d, want the reply again", k.topic, k.id)
	}
	p.quiet()
	a.work(1)
	if k := p.entry(4); k.dup() || k.id == reply.id {
		t.Errorf("flags %x, packet id %d", k.flags, k.id)
	}
	p.publish(note{payload: `{"op":"balance","account":"w"}`}, note{topic: "bank/nowhere"}) // and no copy of its own comes
	for range 2 {
		if k := p.expect(tPublish); k.topic != reply.topic {
			t.Errorf("heard %s", k.topic)
		}
	}
	p.quiet()
}

// The feed ends with the subscription and begins again with the next.
func TestTheJournalIsToldWhileItIsListenedTo(t *testing.T) {
	a := auditing(t, nil)
	p, _ := enter(t, a.address, hello{id: "audit", level: 4})
	for round := range uint64(3) {
		p.subscribe(1, "bank/#", 1)
		a.work(1)
		p.entry(2*round + 1) // and is not acknowledged, which is no reason to send it again on this connection
		p.send(framed(tUnsubscribe<<4|2, []byte{0, 2}, text("bank/#")))
		p.expect(tUnsuback)
		a.work(1)
		p.quiet()
	}
}
