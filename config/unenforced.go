package config

import "fmt"

// Unenforced returns the settings that were read and checked, but that this version does not act on. Serving with one
// of them would open a door that the file says is shut, so a start must refuse them all. c comes from [Load] or
// [Parse]; the result is empty for [Default].
func Unenforced(c Config) Problems {
	var problems Problems
	refuse := func(set bool, path string) {
		if set {
			problems = append(problems, Problem{c.source.file, c.source.line(path), path + ": not available in this version; remove it"})
		}
	}
	for i, l := range c.Socket.Listeners {
		refuse(l.TLS != nil, fmt.Sprintf("socket.listeners[%d].tls", i))
	}
	for i, l := range c.MQTT.Listeners {
		refuse(l.TLS != nil, fmt.Sprintf("mqtt.listeners[%d].tls", i))
	}
	problems.sort()
	return problems
}
