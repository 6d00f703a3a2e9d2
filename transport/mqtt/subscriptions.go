package mqtt

import "github.com/mochi-mqtt/server/v2/packets"

// subscribe remembers the subscriptions of a SUBSCRIBE that were granted. It returns when that is durable, if it must be;
// after an error nothing has changed.
func (s *session) subscribe(filters packets.Subscriptions, granted []byte) error {
	before := s.subscribed()
	err := s.change(func() {
		for i, sub := range filters {
			if i >= len(granted) || granted[i] > 2 {
				continue
			}
			s.dropFilterLocked(sub.Filter)
			sub.Qos = granted[i]
			s.subscriptions = append(s.subscriptions, sub)
		}
	})
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.subscriptions = before
	}
	return err
}

// unsubscribe forgets subscriptions, and returns in the same manner. They are forgotten after an error too, in this process; when
// there was no space, the next checkpoint makes that last. Replies to operations that came before are still sent.
func (s *session) unsubscribe(filters packets.Subscriptions) error {
	return s.change(func() {
		for _, sub := range filters {
			s.dropFilterLocked(sub.Filter)
		}
	})
}

// change changes the subscriptions, and returns when that is durable. The change is there before it is, so that a checkpoint has it.
func (s *session) change(with func()) error {
	s.mu.Lock()
	with()
	if !s.keptLocked() {
		s.mu.Unlock()
		return nil
	}
	durable := make(chan error, 1)
	s.registry.append(s.appendFiltersLocked(nil), func(err error) { durable <- err })
	s.mu.Unlock()
	return <-durable
}

// keepOnly makes these all the subscriptions there are. What is dropped is not given back, whether that can be kept or not.
func (s *session) keepOnly(subscriptions []packets.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscriptions = subscriptions
	if s.keptLocked() {
		s.registry.append(s.appendFiltersLocked(nil), nil)
	}
}

func (s *session) dropFilterLocked(filter string) {
	for i := range s.subscriptions {
		if s.subscriptions[i].Filter == filter {
			s.subscriptions = append(s.subscriptions[:i], s.subscriptions[i+1:]...)
			return
		}
	}
}

// subscribed returns the subscriptions.
func (s *session) subscribed() []packets.Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]packets.Subscription(nil), s.subscriptions...)
}

// grantedLocked returns the greatest QoS of the subscriptions that match topic.
func (s *session) grantedLocked(topic string) (granted byte, subscribed bool) {
	for i := range s.subscriptions {
		if sub := &s.subscriptions[i]; matches(sub.Filter, topic) {
			granted, subscribed = max(granted, sub.Qos), true
		}
	}
	return granted, subscribed
}
