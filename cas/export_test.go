package cas

// InFlight returns how many chunks are between append and index.
func InFlight(s *Store) int {
	s.pack.flightMu.Lock()
	defer s.pack.flightMu.Unlock()
	return len(s.pack.flight)
}

// CacheSize returns the bytes that decoded frames take, waiting for readers
// or to be reused.
func CacheSize(s *Store) (kept, free int64) {
	c := s.load.frames
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.free {
		free += int64(cap(b))
	}
	return c.size, free
}

// RoomTaken returns how much room units and frames under way take.
func RoomTaken(s *Store) (units, frames int) { return len(s.unitRoom), len(s.frameRoom) }

// SetRequests lets n requests of readers be under way at a time.
func SetRequests(s *Store, n int) { s.load.tokens = make(chan struct{}, n) }
