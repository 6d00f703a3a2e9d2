package gate_test

import (
	"net"
	"net/netip"
	"testing"

	"gateway/gate"
)

// remote is a connection from an address.
type remote struct {
	net.Conn
	address net.Addr
}

func (r remote) RemoteAddr() net.Addr { return r.address }

func TestPeer(t *testing.T) {
	for _, c := range []struct {
		address net.Addr
		want    string
	}{
		{&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7}, "192.0.2.1:7"},
		{&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 7}, "192.0.2.1:7"},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 7}, "[fe80::1]:7"},
		{&net.UnixAddr{Name: "x"}, "invalid AddrPort"},
	} {
		if got := gate.Peer(remote{address: c.address}); got.String() != c.want {
			t.Errorf("%v: %v, want %s", c.address, got, c.want)
		}
		if got := gate.PeerOf(c.address.String()); got.String() != c.want {
			t.Errorf("written, %v: %v, want %s", c.address, got, c.want)
		}
	}
}

func TestAllows(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/32")}
	for address, want := range map[string]bool{
		"10.1.2.3": true, "10.2.0.1": false, "2001:db8::1": true, "2001:db9::1": false, "::ffff:10.1.2.3": false,
	} {
		if got := gate.Allows(networks, netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
		if !gate.Allows(nil, netip.MustParseAddr(address)) {
			t.Errorf("%s is not allowed where everybody is", address)
		}
	}
	if gate.Allows(networks, netip.Addr{}) {
		t.Error("no address is in a network")
	}
}
