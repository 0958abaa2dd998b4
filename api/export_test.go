package api

// Routes are the paths and methods that a server answers.
func (s *Server) Routes() map[string][]string {
	out := make(map[string][]string)
	for _, r := range s.routes() {
		for m := range r.methods {
			out[r.path] = append(out[r.path], m)
		}
	}
	return out
}

func ContentRange(value string) (from, size int64, err error) { return contentRange(value) }
