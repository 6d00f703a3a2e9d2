package mqtt_test

import (
	"fmt"
	"sync"
	"time"
)

// The traps that a hostile or careless client sets.

// tryTwentyConnects comes with one client id twenty times at once: one of them stays, alone.
func tryTwentyConnects(s *stand) {
	for range 5 {
		peers := make([]*peer, 20)
		for i := range peers {
			peers[i] = s.call()
			peers[i].id, peers[i].level = fmt.Sprint("peer ", i), 4
		}
		var connecting sync.WaitGroup
		for _, p := range peers {
			connecting.Go(func() { p.conn.Write(hello{id: "c", level: 4, stored: true}.bytes()) })
		}
		connecting.Wait()
		ended, alive := make(chan error, len(peers)), make(chan struct{}, len(peers))
		for _, p := range peers {
			go func() {
				for {
					k, err := p.read()
					if err != nil {
						ended <- err
						return
					}
					if k.kind == tPingresp {
						alive <- struct{}{}
					}
				}
			}()
		}
		for n := range len(peers) - 1 {
			if timedOut(<-ended) {
				s.Fatalf("%d of 20 connections with one client id are alive", len(peers)-n)
			}
		}
		for _, p := range peers {
			p.conn.Write([]byte{tPingreq << 4, 0})
		}
		select {
		case <-alive:
		case err := <-ended:
			s.Fatalf("none of 20 connections with one client id is left: %v", err)
		}
		for _, p := range peers {
			p.conn.Close()
		}
	}
	s.serves()
}

// tryWill leaves a reply for another client behind, to be published when its connection breaks.
func tryWill(s *stand) {
	alice := s.listening(hello{id: "alice"})
	for level, refused := range map[byte]byte{3: 5, 4: 5, 5: 0x87} {
		eve := s.call()
		ack := eve.greet(hello{id: "eve", level: level, will: true, lastWords: `{"status":true,"balance":"1000000.00"}`})
		eve.conn.Close()
		if ack.reason != refused {
			k, err := alice.read()
			s.Fatalf("level %d: a will was answered 0x%02x; alice reads %q (%v)", level, ack.reason, k.payload, err)
		}
	}
	alice.quiet()
}

// tryExpiredSubscription comes back after its session expired: the new one has no subscription.
func tryExpiredSubscription(s *stand) {
	short := hello{id: "c", stored: true, properties: property(0x11, uint32(1))}
	p := s.listening(short)
	p.send([]byte{tDisconnect << 4, 0})
	p.gone(0)
	s.leave("c", 2*time.Second)
	p, ack := s.enter(short)
	if ack.present {
		s.Fatalf("the session is still there")
	}
	for id := uint16(1); id <= 20; id++ { // a broker may take its time
		p.publish(note{qos: 1, id: id, payload: deposit("1", 1)})
		p.ack(tPuback, id, 0)
		p.quiet()
	}
}

// tryShutdown stops the broker while connections say nothing, or stop in the middle of a word.
func tryShutdown(s *stand) {
	silent, half, upgrading, web := s.call(), s.call(), call(s, s.web), s.surf()
	half.send(hello{id: "half"}.bytes()[:9])
	upgrading.send([]byte("GET / HTTP/1.1\r\nHost: x\r\n"))
	web.send(hello{id: "web"}.bytes()[:9])
	idle, _ := s.enter(hello{id: "idle"})
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	select {
	case err := <-stopped:
		if err != nil {
			s.Fatalf("stopped with %v", err)
		}
	case <-time.After(s.patience):
		s.Fatalf("connections that say nothing keep the broker from stopping")
	}
	idle.gone(0x8b)
	for _, p := range []*peer{silent, half, web} {
		p.gone(0)
	}
}

// tryMaximumPacketSize takes short replies only; the others are passed over and hold up nothing.
func tryMaximumPacketSize(s *stand) {
	p, _ := s.enter(hello{id: "c", properties: property(0x27, uint32(150))})
	p.subscribe(1, "bank/replies/c", 1)
	long := `{"op":"deposit","account":"1","amount":1,"memo":"%d","id":"0123456789012345678901234567890123456789-%d"}`
	for i := range 100 {
		id := uint16(2*i + 1)
		p.publish(
			note{qos: 1, id: id, payload: deposit("1", 1)},
			note{qos: 1, id: id + 1, payload: fmt.Sprintf(long, i, i)},
		)
		acks, replies := p.harvest(2, 1)
		if a := p.answer(replies[0]); a.Balance != fmt.Sprintf("%d.00", 2*i+1) || acks[0].reason != 0 || acks[1].reason != 0 {
			s.Fatalf("round %d: reply %+v, acknowledged %+v", i, a, acks)
		}
		p.puback(replies[0].id)
	}
	p.quiet()
}

// tryTruncatedSubscribe sends packets that bring mochi's decoder down. They may cost their own connection only.
func tryTruncatedSubscribe(s *stand) {
	other := s.listening(hello{id: "bystander"})
	for _, b := range [][]byte{
		{0x82, 6, 0, 1, 0, 0, 1, 'a'},
		{0x82, 10, 0, 1, 0, 0, 5, 'a', 'b', 'c', 'd', 'e'},
	} {
		p, _ := s.enter(keeps(5, "c"))
		p.send(b)
		p.gone(0x81)
		other.quiet()
		s.serves()
		s.enter(keeps(5, "c"))
	}
}

// tryShare asks for another's replies as one of a group.
func tryShare(s *stand) {
	for _, level := range []byte{5, 4, 3} {
		eve, _ := s.enter(hello{id: "eve", level: level})
		for _, share := range []string{"$share", "$SHARE", "$Share"} {
			for _, filter := range []string{"bank/replies/alice", "bank/replies/#", "bank/ops"} {
				if k := eve.subscribe(1, share+"/g/"+filter, 1); k.granted[0] < 0x80 {
					s.Fatalf("level %d: %s/g/%s is granted: %x", level, share, filter, k.granted)
				}
			}
		}
		alice := s.listening(hello{id: "alice"})
		alice.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
		alice.harvest(1, 1)
		eve.quiet()
	}
}

// tryAlias uses topic aliases although CONNACK allowed none: as a way past the rules for topics, too.
func tryAlias(s *stand) {
	alias := property(0x23, uint16(1))
	for _, n := range []note{
		{qos: 1, id: 1, properties: alias, payload: deposit("1", 1)},
		{qos: 1, id: 1, topic: "bank/replies/alice", properties: alias, payload: deposit("1", 1)},
		{},
	} {
		p, ack := s.enter(hello{id: "c"})
		if ack.properties[0x22] != nil {
			s.Fatalf("CONNACK allows %v aliases", ack.properties[0x22])
		}
		first := n.bytes(5)
		if n.qos == 0 {
			first = nil
		}
		p.send(first, framed(tPublish<<4|2, text(""), []byte{0, 2}, withLength(5, alias), []byte(deposit("1", 1))))
		p.gone(0x94)
	}
	if n := s.executed("1"); n != 0 {
		s.Errorf("%d operations were executed by an alias", n)
	}
}

// tryResponseTopic asks for a reply to somebody else.
func tryResponseTopic(s *stand) {
	alice := s.listening(hello{id: "alice"})
	p := s.listening(hello{id: "ali"})
	for i, topic := range []string{
		"bank/replies/alice", "bank/replies/alice/x", "bank/replies/ali/#", "bank/replies", "bank/ops", "$SYS/broker",
	} {
		p.publish(note{qos: 1, id: uint16(i + 1), properties: property(0x08, topic), payload: deposit("1", 1)})
		p.ack(tPuback, uint16(i+1), 0x87)
		if a, k := p.reply(1); a.Code != "forbidden" || k.topic != "bank/replies/ali" {
			s.Fatalf("response topic %q: %+v on %q", topic, a, k.topic)
		}
	}
	alice.quiet()
	if n := s.executed("1"); n != 0 {
		s.Errorf("%d operations were executed whose replies had nowhere to go", n)
	}
}

// tryInline is called what mochi calls itself.
func tryInline(s *stand) {
	for _, level := range []byte{4, 5} {
		p, ack := s.enter(keeps(level, "inline"))
		if ack.present {
			s.Fatalf("level %d: the client takes over a session that nobody left", level)
		}
		p.subscribe(1, "bank/replies/inline", 1)
		p.publish(note{qos: 1, id: 1, payload: deposit("1", 1)})
		_, replies := p.harvest(1, 1)
		p.puback(replies[0].id)
		s.serves()
		p.send([]byte{tDisconnect << 4, 0})
		p.gone(0)
		s.enter(hello{id: "inline"}) // a clean start, for the next
		s.serves()
	}
}

// tryHugePacket announces 256 MB before anybody knows who it is.
func tryHugePacket(s *stand) {
	for range 4 {
		p := s.call()
		p.send([]byte{tConnect << 4, 0xff, 0xff, 0xff, 0x7f})
		p.gone(0)
	}
	s.serves()
}

// tryKeepAlive is silent for ever, which MQTT allows; the broker does not.
func tryKeepAlive(s *stand) {
	var silent []*peer
	for level := byte(3); level <= 5; level++ {
		p, ack := s.enter(hello{id: fmt.Sprint("c", level), level: level})
		if level == 5 && ack.properties[0x13] == nil {
			s.Errorf("CONNACK tells no keep-alive: %v", ack.properties)
		}
		silent = append(silent, p)
	}
	for _, p := range silent {
		if p.level == 5 {
			p.gone(0x8d)
		} else {
			p.gone(0)
		}
	}
}

// tryRefusals asks what is refused. MQTT 3 acknowledges it like anything else; the reply says what became of it.
func tryRefusals(s *stand) {
	for _, level := range []byte{3, 4} {
		p := s.listening(hello{id: "c", level: level})
		for i, c := range []struct {
			note note
			code string
		}{
			{note{payload: `{"op":"withdraw","account":"1","amount":5}`}, "insufficient_funds"},
			{note{payload: "nonsense"}, "malformed"},
			{note{topic: "bank/other", payload: deposit("1", 1)}, "forbidden"},
			{note{topic: "bank/replies/c", payload: deposit("1", 1)}, "forbidden"},
			{note{retain: 1, payload: deposit("1", 1)}, "forbidden"},
		} {
			for qos := byte(1); qos <= 2; qos++ {
				c.note.qos, c.note.id = qos, uint16(2*i)+uint16(qos)
				p.publish(c.note)
				_, replies := p.harvest(1, 1)
				if a := p.answer(replies[0]); a.Status || a.Code != c.code || replies[0].topic != "bank/replies/c" {
					s.Fatalf("level %d: %+v on %q, want %s", level, a, replies[0].topic, c.code)
				}
				p.puback(replies[0].id)
			}
		}
		if n := s.executed("1"); n != 0 {
			s.Fatalf("level %d: %d deposits were made", level, n)
		}
	}
}
