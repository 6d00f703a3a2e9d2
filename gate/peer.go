package gate

import (
	"net"
	"net/netip"
)

// Peer returns the address of the other end, an IPv4 one as such and without a zone. It is invalid when conn is no TCP
// connection; no network contains that.
func Peer(conn net.Conn) netip.AddrPort {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return plain(tcp.AddrPort())
}

// PeerOf returns the same of an address that is written, as an HTTP server shows it.
func PeerOf(written string) netip.AddrPort {
	peer, err := netip.ParseAddrPort(written)
	if err != nil {
		return netip.AddrPort{}
	}
	return plain(peer)
}

func plain(peer netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(peer.Addr().Unmap().WithZone(""), peer.Port())
}

// Allows reports whether an address is in one of the networks. When there are none every address is allowed.
func Allows(networks []netip.Prefix, address netip.Addr) bool {
	for _, network := range networks {
		if network.Contains(address) {
			return true
		}
	}
	return len(networks) == 0
}
