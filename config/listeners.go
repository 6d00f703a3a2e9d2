package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// door is a listener of any kind, as the rules for addresses see it.
type door struct {
	path string
	at   netip.AddrPort
}

// checkListeners checks each listener, and that no two of them want the same address.
func (r *reader) checkListeners(c *Config) {
	var doors []door
	note := func(path, address string) (loopback bool) {
		if !r.sound(path) {
			return true // nothing more to say of it
		}
		at, ok := r.checkAddress(path+".address", address)
		if !ok {
			return true
		}
		doors = append(doors, door{path, at})
		return at.Addr().IsLoopback()
	}
	if r.few("socket.listeners", len(c.Socket.Listeners)) {
		for i, l := range c.Socket.Listeners {
			path := fmt.Sprintf("socket.listeners[%d]", i)
			r.checkSocket(path, l, c.Auth.Users, note(path, l.Address))
		}
	}
	if r.few("mqtt.listeners", len(c.MQTT.Listeners)) {
		for i, l := range c.MQTT.Listeners {
			path := fmt.Sprintf("mqtt.listeners[%d]", i)
			r.checkMQTT(path, l, c.Auth.Users, note(path, l.Address))
		}
	}
	if c.Admin.Address != "" && !note("admin", c.Admin.Address) {
		r.problem("admin.address", "%s is not on loopback, and the admin pages ask nobody for credentials: "+
			"listen on 127.0.0.1, or write \"\" to turn them off", r.quote("admin.address", c.Admin.Address))
	}
	r.checkApart(doors)
}

func (r *reader) few(path string, listeners int) bool {
	if listeners > MaxListeners {
		r.problem(path, "must be at most %d listeners, not %d", MaxListeners, listeners)
		return false
	}
	return true
}

// checkAddress reads host:port. localhost is taken for 127.0.0.1, which is what it is everywhere.
func (r *reader) checkAddress(path, address string) (at netip.AddrPort, ok bool) {
	if !r.sound(path) {
		return at, false // its type is wrong
	}
	host, port, err := net.SplitHostPort(address)
	number, portErr := strconv.ParseUint(port, 10, 16)
	switch {
	case address == "":
		r.problem(path, `is missing; write host:port, such as "127.0.0.1:9999"`)
		return at, false
	case err != nil, portErr != nil:
		r.problem(path, `must be host:port, such as "127.0.0.1:9999", with a port from 0 to 65535, not %s`, r.quote(path, address))
		return at, false
	case host == "localhost":
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		r.problem(path, "the host must be an IP address or localhost (0.0.0.0 for every interface), not %s", r.quote(path, address))
		return at, false
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(number)), true
}

func (r *reader) checkSocket(path string, l SocketListener, users []User, loopback bool) {
	if !r.sound(path) {
		return
	}
	oneOf(r, path+".codec", l.Codec, Pickle, Msgpack, JSON)
	r.checkTLS(path+".tls", l.TLS)
	r.checkAllowFrom(path+".allow_from", l.AllowFrom)
	principal := path + ".principal"
	known := slices.ContainsFunc(users, func(u User) bool { return u.Name == l.Principal })
	if r.given(principal) && !known && r.sound(principal, "auth.users") {
		r.problem(principal, "must be the name of one of auth.users, not %s", r.quote(principal, l.Principal))
	}
	guarded := r.given(path+".tls.client_ca") ||
		r.given(principal) && r.given(path+".allow_from") || !r.sound(path+".tls")
	if !loopback && !guarded {
		r.problem(path+".address", "%s is not on loopback, and anyone there could move money: give the listener a tls with "+
			"client_ca, or a principal together with allow_from, or listen on 127.0.0.1", r.quote(path+".address", l.Address))
	}
}

func (r *reader) checkMQTT(path string, l MQTTListener, users []User, loopback bool) {
	if !r.sound(path) {
		return
	}
	r.checkTLS(path+".tls", l.TLS)
	r.checkAllowFrom(path+".allow_from", l.AllowFrom)
	r.checkOrigins(path, l)
	if !loopback && len(users) == 0 && r.sound("auth.users") {
		r.problem(path+".address", "%s is not on loopback, and anyone there could move money: name those who may in "+
			"auth.users, or listen on 127.0.0.1", r.quote(path+".address", l.Address))
	}
}

func (r *reader) checkAllowFrom(path string, networks []netip.Prefix) {
	if r.given(path) && len(networks) == 0 {
		r.problem(path, "is an empty list, which would let nobody in; name networks, or remove it to let everybody")
	}
}

func (r *reader) checkOrigins(path string, l MQTTListener) {
	list := path + ".origins"
	switch {
	case !r.given(list):
		return
	case !l.WebSocket && r.sound(path+".websocket"):
		r.problem(list, "is for WebSocket listeners; add websocket: true, or remove it")
	case len(l.Origins) == 0:
		r.problem(list, "is an empty list, which would let no page in; name origins, or remove it")
	}
	for i, origin := range l.Origins {
		at := fmt.Sprintf("%s[%d]", list, i)
		if canonical, ok := canonicalOrigin(origin); !ok {
			r.problem(at, `must be an origin such as "https://bank.example" or "http://127.0.0.1:3000", not %s`, r.quote(at, origin))
		} else if canonical != origin {
			r.problem(at, "browsers never send %s; write %q", r.quote(at, origin), canonical)
		}
	}
}

// canonicalOrigin returns an origin as browsers send it: scheme, host and a port that is not the scheme's own.
func canonicalOrigin(origin string) (canonical string, ok bool) {
	u, err := url.Parse(origin)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		u.Path != "" && u.Path != "/" || strings.ContainsAny(u.Host, "*, ") {
		return "", false
	}
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	default:
		return "", false
	}
	return u.Scheme + "://" + host, true
}

// checkApart tells every listener whose address another has before it. Port 0 is never the same twice.
func (r *reader) checkApart(doors []door) {
	for i, d := range doors {
		for _, earlier := range doors[:i] {
			if !clash(d.at, earlier.at) {
				continue
			}
			this, other := d.path+".address", earlier.path+".address"
			if !r.given(this) {
				this, other = other, this // the file took an address that a default has
			}
			r.problem(this, "%s has this address already; give each listener its own", other)
			break
		}
	}
}

// clash reports whether two addresses cannot be listened on at once: :: is every address, 0.0.0.0 every IPv4 one.
func clash(a, b netip.AddrPort) bool {
	covers := func(a, b netip.Addr) bool {
		return a == b || a == netip.IPv6Unspecified() || a == netip.IPv4Unspecified() && b.Is4()
	}
	return a.Port() == b.Port() && a.Port() != 0 && (covers(a.Addr(), b.Addr()) || covers(b.Addr(), a.Addr()))
}
