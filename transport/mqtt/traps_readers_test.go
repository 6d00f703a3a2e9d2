package mqtt_test

import (
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

// flood is a client that writes as fast as it can and reads little or nothing.
type flood struct {
	peer    *peer
	written atomic.Int64  // how often a write went through
	cut     chan struct{} // closed when the broker has ended the connection
	uncut   error         // set before cut is closed when it has not, for as long as anybody waits
}

// pour writes until a write fails.
func (f *flood) pour(s *stand) {
	defer close(f.cut)
	var burst []byte
	for id := range 200 {
		burst = append(burst, note{qos: 1, id: uint16(id + 1), payload: deposit("slow", 1)}.bytes(f.peer.level)...)
	}
	burst = append(burst, tPingreq<<4, 0) // it is alive, whatever mochi makes of that
	for {
		f.peer.conn.SetWriteDeadline(time.Now().Add(s.patience))
		if _, err := f.peer.conn.Write(burst); err != nil {
			if timedOut(err) {
				f.uncut = err
			}
			return
		}
		f.written.Add(1)
	}
}

// sip reads so many bytes now and then.
func (f *flood) sip(size int) {
	f.peer.conn.SetReadDeadline(time.Time{})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for b := make([]byte, size); ; {
		select {
		case <-tick.C:
			if _, err := f.peer.conn.Read(b); err != nil {
				return
			}
		case <-f.cut:
			return
		}
	}
}

func timedOut(err error) bool {
	timeout := net.Error(nil)
	return errors.As(err, &timeout) && timeout.Timeout()
}

// narrow connects with a receive buffer of a few packets, so that it is full soon.
func (s *stand) narrow(web bool) *peer {
	s.Helper()
	dialer := net.Dialer{Timeout: s.patience, Control: func(_, _ string, socket syscall.RawConn) error {
		return socket.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
	}}
	if !web {
		conn, err := dialer.Dial("tcp", s.address)
		if err != nil {
			s.Fatal(err)
		}
		return newPeer(s, conn)
	}
	upgrade := websocket.Dialer{NetDialContext: dialer.DialContext, Subprotocols: []string{"mqtt"}}
	socket, _, err := upgrade.Dial("ws://"+s.web+"/mqtt", nil)
	if err != nil {
		s.Fatal(err)
	}
	return newPeer(s, &socketConn{Conn: socket})
}

// tryReader has one client that does not read, or reads sip bytes at a time, and one that works. While the first is stuck the
// second must be as quick as it was alone; and the first is cut when it has left packets in its socket for the time of the
// write deadline, and not before.
func tryReader(s *stand, web bool, sip int) {
	quick := s.listening(hello{id: "quick"})
	var alone, stuck []time.Duration
	for range 200 {
		alone = append(alone, s.trip(quick))
	}
	slow := s.narrow(web)
	slow.greet(hello{id: "slow", level: 4})
	slow.subscribe(1, "bank/replies/slow", 1)
	f := &flood{peer: slow, cut: make(chan struct{})}
	began := time.Now()
	go f.pour(s)
	if sip > 0 {
		go f.sip(sip)
	}
	last, worst := began, time.Duration(0)
	for flooding := true; flooding; {
		before := f.written.Load()
		took := s.trip(quick)
		worst = max(worst, took)
		if f.written.Load() == before {
			stuck = append(stuck, took)
		} else {
			last = time.Now()
		}
		if time.Since(last) > s.patience || time.Since(began) > 3*s.patience {
			s.Fatalf("its connection goes on after %v, the last of them stuck for %v", time.Since(began), time.Since(last))
		}
		select {
		case <-f.cut:
			flooding = false
		default:
		}
	}
	if f.uncut != nil {
		s.Fatalf("its connection goes on: %v", f.uncut)
	}
	if after, idle := time.Since(began), time.Since(last); after < impatience || idle > 3*impatience {
		s.Errorf("cut %v after it began and %v after it was stuck, the write deadline is %v", after, idle, impatience)
	}
	if len(stuck) < 10 {
		s.Fatalf("it was stuck while another did %d operations only", len(stuck))
	}
	if usual, now := median(alone), median(stuck); now > 5*usual+5*time.Millisecond || worst > impatience*3/4 {
		s.Errorf("beside it another does an operation in %v, in %v at worst; alone in %v", now, worst, usual)
	}
}

// trip does one operation and returns how long it took.
func (s *stand) trip(p *peer) time.Duration {
	s.Helper()
	began := time.Now()
	p.conn.SetDeadline(began.Add(s.patience))
	p.publish(note{qos: 1, id: 1, payload: deposit("quick", 1)})
	_, replies := p.harvest(1, 1)
	p.puback(replies[0].id)
	return time.Since(began)
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
