package access

import "container/list"

// shelf is a map with room for so many: the one that was used longest ago makes room for a new one.
type shelf[K comparable, V any] struct {
	room  int
	items map[K]*list.Element
	order *list.List // of item; the one used last is in front
}

type item[K comparable, V any] struct {
	key   K
	value V
}

func newShelf[K comparable, V any](room int) shelf[K, V] {
	return shelf[K, V]{room: room, items: make(map[K]*list.Element), order: list.New()}
}

// get returns what is there under key, which is what make returns when there was nothing.
func (s *shelf[K, V]) get(key K, make func() V) V {
	if at, known := s.items[key]; known {
		s.order.MoveToFront(at)
		return at.Value.(item[K, V]).value
	}
	if len(s.items) >= s.room {
		oldest := s.order.Back()
		s.order.Remove(oldest)
		delete(s.items, oldest.Value.(item[K, V]).key)
	}
	value := make()
	s.items[key] = s.order.PushFront(item[K, V]{key, value})
	return value
}
