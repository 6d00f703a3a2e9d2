package simulation

import (
	"time"

	"gateway/bank"
	"gateway/wire"
)

// says reports whether an answer is one that the bank has given.
func (a *asked) says(answer *wire.Answer) bool { return a.match(answer) != nil }

// match returns the reply of the bank's that an answer tells, or nil.
func (a *asked) match(answer *wire.Answer) *bank.Reply {
	for i := range a.answers {
		r := &a.answers[i]
		if r.Code != answer.Code || r.Seq != answer.Seq || r.Duplicate != answer.Duplicate || r.ID != answer.ID || !r.Time.Equal(answer.Time) {
			continue
		}
		if r.HasBalance && r.Balance.Format(2) == answer.Balance || !r.HasBalance && answer.Balance == "" {
			return r
		}
	}
	return nil
}

// heard notes that a device was told an answer.
func (b *book) heard(a *asked, answer *wire.Answer) {
	if answer.Code == bank.Unavailable || answer.Code == bank.Overloaded || answer.Code == bank.Malformed {
		return // the door's own, and it says that nothing is known
	}
	r := a.match(answer)
	if r == nil {
		b.w.fail("I6: m%d was answered %+v, and told %+v", a.tag, a.answers, *answer)
		return
	}
	b.told(a, *r)
}

// checkTopic is I9 for replies: they come on the device's own topic, or below it.
func (w *world) checkTopic(d *device, p *packet) bool {
	own := d.topic()
	if p.topic != own && p.topic != own+"/x" {
		w.fail("I9: %s was sent a reply on %s", d.id, p.topic)
		return false
	}
	return true
}

// checkFirst is the order of replies: heard for the first time, they come in that of their entries, but for those that only a
// redelivery brings.
func (w *world) checkFirst(d *device, a *asked, answer *wire.Answer) {
	if r := a.recorded(); r == nil || a.late || answer.Duplicate || answer.Seq != r.Seq {
		return
	}
	if answer.Seq < d.ordered {
		w.fail("the reply of entry %d came to %s after that of entry %d", answer.Seq, d.id, d.ordered)
	}
	d.ordered = answer.Seq
}

// checkSaid is I1 and I6 as a client sees them: nothing is said of an operation before it is decided for good. It looks at
// what the gateway writes when it is written.
func (w *world) checkSaid(d *device, p *packet) {
	switch p.kind {
	case tConnack:
		d.greeted = time.Now()
	case tPuback, tPubrec:
		i := d.find(p.id)
		if i < 0 || p.reason >= 0x80 {
			return
		}
		if x := d.exchanges[i]; !x.asked.decided() && !w.refusing(x.asked) && !(w.limited() && (d.level < 5 || x.level < 5)) {
			w.fail("I6: %s is told that m%d is decided, and it is not", d.id, x.asked.tag)
		}
	case tPublish:
		if p.tag > 0 && p.tag <= len(w.book.asked) && !w.book.asked[p.tag-1].decided() {
			answer, _, _ := d.format.DecodeAnswer(p.payload)
			if answer.Code != bank.Malformed && answer.Code != bank.Unavailable && answer.Code != bank.Overloaded {
				w.fail("I6: %s is told %v of m%d, and it is not decided", d.id, answer.Code, p.tag)
			}
		}
	}
}

// checkWindow is what a device asks for that says how many replies it takes at once.
func (w *world) checkWindow(l *link, d *device, p *packet) {
	if p.kind != tPublish || p.qos() == 0 {
		return
	}
	if l.sent++; l.window > 0 && l.sent > l.window {
		w.fail("%s takes %d replies at once, and was sent %d", d.id, l.window, l.sent)
	}
}

// limited reports whether a reply may find no room to wait. Its operation is refused then, of which MQTT 3 is told in the reply only.
func (w *world) limited() bool { return w.chances.waiting+w.chances.waitingAll > 0 }

// refusing reports whether the door may acknowledge an operation that was never decided: the bank did not take it, or has
// failed. MQTT 3 is told no more than that.
func (w *world) refusing(a *asked) bool {
	return a.refused || w.process == nil || w.process.broken
}
