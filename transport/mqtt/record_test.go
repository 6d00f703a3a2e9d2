package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"gateway/bank"
	"gateway/packed"
	"gateway/wire"

	"github.com/mochi-mqtt/server/v2/packets"
	"pgregory.net/rapid"
)

// drawExchange returns an operation of s as it may be.
func drawExchange(t *rapid.T, s *session) *exchange {
	x := &exchange{
		session: s, qos: byte(rapid.IntRange(1, 2).Draw(t, "qos")), id: rapid.Uint16Min(1).Draw(t, "id"),
		number: rapid.Uint64Min(1).Draw(t, "number"),
		manner: manner{
			format:      rapid.SampledFrom([]wire.Format{wire.JSON, wire.Msgpack}).Draw(t, "format"),
			contentType: rapid.SampledFrom(contentTypes[:]).Draw(t, "content type"),
			correlated:  rapid.Bool().Draw(t, "correlated"),
		},
	}
	if x.qos == 1 {
		copy(x.mark[:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "mark"))
	}
	if x.manner.correlated {
		x.manner.correlation = rapid.SliceOfN(rapid.Byte(), 0, maxCorrelation).Draw(t, "correlation")
	}
	if rapid.Bool().Draw(t, "below") {
		x.manner.topic = s.own + "/" + rapid.StringN(0, 20, 60).Draw(t, "topic")
	}
	return x
}

func TestANoteReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &session{own: "bank/replies/c", incarnation: rapid.Uint64Min(1).Draw(t, "incarnation")}
		x, owed := drawExchange(t, s), rapid.Bool().Draw(t, "owed")
		b := appendNote(nil, x, owed)
		n, err := parseNote(b)
		if err != nil {
			t.Fatal(err)
		}
		back := s.exchange(&kept{note: n})
		same := back.qos == x.qos && back.id == x.id && back.number == x.number && back.mark == x.mark && back.owed == owed &&
			back.manner.format == x.manner.format && back.manner.contentType == x.manner.contentType &&
			back.manner.topic == x.manner.topic && back.manner.correlated == x.manner.correlated &&
			bytes.Equal(back.manner.correlation, x.manner.correlation) && n.incarnation == s.incarnation
		if !same {
			t.Fatalf("%+v reads back as %+v", x, back)
		}
		for cut := range len(b) - len(x.manner.correlation) {
			if _, err := parseNote(b[:cut]); err == nil {
				t.Fatalf("%d of %d bytes are a note", cut, len(b))
			}
		}
	})
}

func TestTheLargestNoteFitsAnEntry(t *testing.T) {
	s := &session{own: "b", incarnation: 1<<64 - 1}
	x := &exchange{session: s, qos: 1, id: 1, number: 1<<64 - 1, manner: manner{
		topic: "b/" + string(bytes.Repeat([]byte("x"), maxTopic-2)), correlated: true, correlation: make([]byte, maxCorrelation),
	}}
	op := bank.Operation{Kind: bank.KindBalance, Account: "1", Origin: bank.Origin{Delivery: string(appendNote(nil, x, true))}}
	if code := op.Check(); code != bank.OK {
		t.Errorf("%d bytes: %v", len(op.Origin.Delivery), code)
	}
}

func TestAReplyReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := bank.Reply{
			Code: bank.Code(rapid.IntRange(0, 15).Draw(t, "code")), Kind: bank.Kind(rapid.IntRange(0, 7).Draw(t, "kind")),
			ID: rapid.StringN(0, 64, 64).Draw(t, "id"), Seq: rapid.Uint64().Draw(t, "seq"),
			Amount: bank.Amount(rapid.Int64().Draw(t, "amount")), Balance: bank.Amount(rapid.Int64().Draw(t, "balance")),
			HasBalance: rapid.Bool().Draw(t, "has"), Duplicate: rapid.Bool().Draw(t, "duplicate"),
			Detail:  rapid.StringN(0, 80, 200).Draw(t, "detail"),
			Receipt: rapid.StringMatching(`[A-Za-z0-9_-]{0,300}`).Draw(t, "receipt"),
		}
		if rapid.Bool().Draw(t, "timed") {
			r.Time = time.UnixMicro(rapid.Int64Range(1, 1<<50).Draw(t, "time")).UTC()
		}
		f := recordReader{packed.Reader{Rest: appendReply(nil, &r)}}
		if back := f.reply(); back != r || f.Bad || len(f.Rest) > 0 {
			t.Fatalf("%+v reads back as %+v", r, back)
		}
	})
}

// seedRecords are one of each kind, of a session that has seen something.
func seedRecords() [][]byte {
	r := newRegistry(limits{}, silent{}, time.Now)
	s := &session{id: "c", principal: "anonymous", own: "bank/replies/c", registry: r, incarnation: 3}
	s.link = link{connected: true, persists: true, expiry: time.Hour, sent: 4}
	s.arrivals, s.settled = 9, 8
	x := &exchange{session: s, qos: 2, id: 7, number: 9, kept: true, judged: true, owed: true}
	x.reply = bank.Reply{Code: bank.InsufficientFunds, Kind: bank.KindWithdraw, Detail: "no"}
	s.pending.push(x)
	y := &exchange{session: s, qos: 1, id: 8, number: 8, mark: [8]byte{1, 2, 3}, kept: true, judged: true, owed: true, reply: x.reply}
	y.manner = manner{topic: s.own + "/x", correlated: true, correlation: []byte("which"), contentType: contentTypes[1]}
	s.pending.push(y)
	records := s.dump()
	records = append(records, s.appendLinkLocked(nil), appendAnswer(nil, recordAnswer, x, true, true, true))
	for _, kind := range []byte{recordRelease, recordAcked} {
		records = append(records, appendNumbered(nil, kind, s, 5))
	}
	s.link = link{connected: true} // has ended with its connection
	records = append(records, s.appendLinkLocked(nil))
	return append(records, []byte{recordStart, 1, 3}, []byte{recordFilters, 3, 1, 1, 'a', 1}, []byte{recordEnd, 3})
}

// FuzzRecovery gives a start any bytes as records: it refuses them, or makes sessions that say of each operation what its record said,
// can be written down again, and are the same then. That is all but the order of their operations' records, which says nothing.
func FuzzRecovery(f *testing.F) {
	seeds := seedRecords()
	for i := range seeds {
		f.Add(seeds[0], seeds[i], seeds[(i+1)%len(seeds)])
	}
	f.Fuzz(func(t *testing.T, first, second, third []byte) {
		r := NewRecovery()
		r.Record([]byte{recordStart, 0, 0})
		for _, record := range [][]byte{first, second, third} {
			if r.Record(record) != nil {
				return
			}
		}
		once := restoredSessions(r)
		r = NewRecovery()
		for _, s := range once {
			s.registry = newRegistry(limits{}, silent{}, time.Now)
			checkOperations(t, s, first, second, third)
			for _, record := range s.dump() {
				if err := r.Record(record); err != nil {
					t.Fatalf("%q: %v", record, err)
				}
			}
		}
		twice := restoredSessions(r)
		if len(once) != len(twice) {
			t.Fatalf("%d sessions, and then %d", len(once), len(twice))
		}
		for id, s := range once {
			if again := twice[id]; again == nil || !reflect.DeepEqual(sortedDump(s), sortedDump(again)) {
				t.Fatalf("%q is %q, and then %v", id, s.dump(), again)
			}
		}
	})
}

// sortedDump is all of a session, in an order that does not depend on that of a map.
func sortedDump(s *session) [][]byte {
	records := s.dump()
	slices.SortFunc(records[1:], bytes.Compare)
	return records
}

// checkOperations holds what a session says of its operations against the records that it comes from: it may have forgotten how a
// reply was to be sent that is owed no more, and where two records are about one operation either may count.
func checkOperations(t *testing.T, s *session, from ...[]byte) {
	t.Helper()
	for _, record := range s.dump()[1:] {
		got, replied, _ := operationOf(record)
		thing, manner := false, !replied
		for _, b := range from {
			said, _, ok := operationOf(b)
			if !ok || said.incarnation != got.incarnation || said.number != got.number {
				continue
			}
			thing = thing || said.qos == got.qos && said.id == got.id && said.mark == got.mark
			manner = manner || said.below == got.below && reflect.DeepEqual(said.manner, got.manner)
		}
		if !thing || !manner {
			t.Fatalf("%q says %q, from %q", s.id, record, from)
		}
	}
}

// operationOf reads the note in a record of an operation, and whether its reply follows.
func operationOf(record []byte) (n note, replied, ok bool) {
	f := recordReader{packed.Reader{Rest: record}}
	if kind := f.Byte(); kind != recordAnswer && kind != recordExchange {
		return note{}, false, false
	}
	f.Uvarint()
	flags := f.Byte()
	n, err := parseNote(f.short())
	return n, flags&answerReplied != 0, err == nil
}

// restoredSessions returns what r makes.
func restoredSessions(r *Recovery) map[string]*session {
	server := &Server{options: Options{RepliesTopic: "bank/replies/{client_id}"}}
	server.sessions = newRegistry(limits{}, silent{}, time.Now)
	server.sessions.keeper = &keeper{server: server, store: nowhere{}}
	r.restore(server)
	return server.sessions.sessions
}

// An entry that reached the disk although its sync failed knows better than a checkpoint that was written beside; and what left no
// entry was not done, and may be tried again.
func TestAnEntryKnowsBetterThanACheckpoint(t *testing.T) {
	for _, test := range []struct {
		name            string
		acked, recorded bool
	}{
		{name: "the reply waits", recorded: true},
		{name: "the reply was acknowledged", acked: true, recorded: true},
		{name: "the reply was acknowledged, and there is no entry", acked: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &session{id: "c", principal: "anonymous", own: "bank/replies/c", registry: newRegistry(limits{}, silent{}, time.Now), incarnation: 3}
			s.link = link{connected: true, persists: true, expiry: time.Hour}
			s.arrivals, s.settled = 9, 9
			x := &exchange{session: s, qos: 1, id: 7, level: 5, number: 9, kept: true, owed: true, answered: true, unknown: true, grant: 1}
			x.reply = bank.Reply{Code: bank.Unavailable, Kind: bank.KindDeposit}
			s.inbound.settle(x, x.reason())
			if !test.acked {
				s.outbound.queue.push(x)
			}
			r := NewRecovery()
			for _, record := range s.dump() {
				if err := r.Record(record); err != nil {
					t.Fatal(err)
				}
			}
			e := bank.Entry{
				Seq: 5, Kind: bank.KindDeposit, Balance: 20, HasBalance: true,
				Origin: bank.Origin{Door: bank.DoorMQTT, Delivery: string(appendNote(nil, x, true))},
			}
			if test.recorded {
				if err := r.Entry(&e); err != nil {
					t.Fatal(err)
				}
			}
			back := restoredSessions(r)["c"]
			if first := back.outbound.queue.first; (first == nil) != test.acked || first != nil && (first.reply != e.Reply() || first.next != nil) {
				t.Errorf("the reply is %+v", first)
			}
			if known := back.knownLocked(&exchange{qos: 1, id: 7, mark: x.mark}, true); known != test.recorded {
				t.Errorf("that a redelivery is one: %v", known)
			}
		})
	}
}

// An earlier version could grant more subscriptions than there may be: a start reads all that a client was granted.
func TestAStartKeepsMoreSubscriptionsThanThereMayBe(t *testing.T) {
	s := &session{id: "c", principal: "anonymous", own: "bank/replies/c", registry: newRegistry(limits{}, silent{}, time.Now), incarnation: 3}
	s.link = link{connected: true, persists: true, expiry: time.Hour}
	begun := s.dump()
	for n := range 2 * maxSubscriptions {
		s.subscriptions = append(s.subscriptions, packets.Subscription{Filter: fmt.Sprint("bank/replies/c/", n), Qos: 1})
	}
	for name, records := range map[string][][]byte{"in a checkpoint": s.dump(), "behind one": append(begun, s.appendFiltersLocked(nil))} {
		r := NewRecovery()
		for _, record := range records {
			if err := r.Record(record); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if back := restoredSessions(r)["c"].subscribed(); !reflect.DeepEqual(back, s.subscriptions) {
			t.Errorf("%s: there are %v", name, back)
		}
	}
}

// A backup copies the sessions before the journal: there may be entries of a session that began between the two. No other
// session may be taken for that one, even if no checkpoint can be made before the next crash.
func TestASessionThatIsNotKnownKeepsItsIncarnation(t *testing.T) {
	r := NewRecovery()
	if err := r.Record([]byte{recordStart, 1, 3}); err != nil {
		t.Fatal(err)
	}
	x := &exchange{session: &session{own: "b", incarnation: 5}, qos: 1, id: 7, number: 1}
	e := bank.Entry{Seq: 2, Origin: bank.Origin{Door: bank.DoorMQTT, Delivery: string(appendNote(nil, x, true))}}
	if err := r.Entry(&e); err != nil {
		t.Fatal(err)
	}
	if r.incarnation != 5 {
		t.Errorf("the last incarnation there was is %d", r.incarnation)
	}
}

// What a record without space leaves to the next checkpoint is there before that checkpoint is asked for.
func TestACheckpointIsAskedForBehindWhatItIsToFind(t *testing.T) {
	k := &keeper{store: fullStore{}}
	r := newRegistry(limits{}, silent{}, time.Now)
	r.keeper = k
	r.append([]byte{recordRelease}, func(err error) {
		if k.gap.Load() || !errors.Is(err, ErrNoSpace) {
			t.Errorf("%v, and a gap: %v", err, k.gap.Load())
		}
	})
	r.insist([]byte{recordRelease}, func() {})
	if !k.gap.Load() || len(k.parked) != 1 {
		t.Errorf("a gap: %v, and %d wait for the next checkpoint", k.gap.Load(), len(k.parked))
	}
}

// A release that finds no space just as a checkpoint begins is completed by that one, or asks for another.
func TestWhatIsParkedAsACheckpointBeginsIsCompleted(t *testing.T) {
	s := &Server{bank: statusBank{}}
	setDefaults(&s.options)
	s.sessions = newRegistry(limits{}, silent{}, time.Now)
	k := &keeper{server: s, store: fullStore{}, seq: func() uint64 { return 0 }}
	s.sessions.keeper = k
	k.gap.Store(true)
	k.mu.Lock() // check cannot see who is parked
	var checking sync.WaitGroup
	checking.Go(func() { k.check(t.Context(), checkpointEntries) })
	for deadline := time.Now().Add(time.Second); k.gap.Load() && time.Now().Before(deadline); runtime.Gosched() {
	}
	if k.gap.Load() {
		t.Error("a checkpoint asks who is parked, and only then takes back that it was asked for")
	}
	k.mu.Unlock()
	completed := false
	s.sessions.insist([]byte{recordRelease}, func() { completed = true })
	checking.Wait()
	k.check(t.Context(), checkpointEntries) // what happens every second
	if !completed {
		t.Errorf("%d wait for a checkpoint, and whether one is asked for: %v", len(k.parked), k.gap.Load())
	}
}

// statusBank answers at once.
type statusBank struct{}

func (statusBank) Submit(_ context.Context, _ bank.Operation, done func(bank.Reply, error)) error {
	done(bank.Reply{}, nil)
	return nil
}

// fullStore has no space.
type fullStore struct{ nowhere }

func (fullStore) Append(_ []byte, done func(error)) { done(ErrNoSpace) }

// nowhere keeps nothing.
type nowhere struct{}

func (nowhere) Append([]byte, func(error)) {}
func (nowhere) Checkpoint(write func(func([]byte) error) error) error {
	return write(func([]byte) error { return nil })
}
func (nowhere) Size() int64 { return 0 }

// Whoever asks for a session again and again where there is no room has the expired ones looked for once a second.
func TestAFullRegistryIsSweptOnceASecond(t *testing.T) {
	now := time.Unix(1000, 0)
	r := newRegistry(limits{sessions: 1}, silent{}, func() time.Time { return now })
	ask := func(id string) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		want := claim{id: id, principal: "anonymous"}
		err := r.roomLocked(want, true)
		if err == nil {
			r.makeLocked(want, true).link.expires = now // it has expired
		}
		return err
	}
	for _, step := range []struct {
		later time.Duration
		id    string
		want  error
	}{{0, "a", nil}, {0, "b", nil}, {sweepAgain - 1, "c", errSessions}, {1, "c", nil}} {
		now = now.Add(step.later)
		if err := ask(step.id); err != step.want {
			t.Errorf("%s: %v, want %v", step.id, err, step.want)
		}
	}
}
