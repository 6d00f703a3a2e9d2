package certs

import "net"

// Below returns the connection that c secures.
func Below(c *Conn) net.Conn { return c.below }
