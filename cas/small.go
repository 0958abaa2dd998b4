package cas

// A smallWriter does in the caller's goroutine what a pipeline does in several.
// Most uploads are one unit: to start goroutines for each of them costs more
// than it saves. When a pipeline has drained, a smallWriter takes over: it
// writes the frames that segments and rests still make.
type smallWriter struct{ b *Batch }

func (w smallWriter) putUnit(u *unit, _ bool) error {
	b := w.b
	b.lookUpUnit(u)
	if b.opts.Tap != nil {
		b.opts.Tap(u.buf, u.ds)
	}
	u.users.Store(1)
	defer b.releaseUnit(u)
	return b.emitUnit(u)
}

func (w smallWriter) putFrame(f *newFrame) error {
	f.e = w.b.s.enc.encodeFrame(f.kind, f.how, f.plain, f.slots)
	return w.b.appendOrLeave(f)
}

func (w smallWriter) waitFor(at place) error {
	w.b.at.add(at)
	return nil
}

// forgetChunks forgets nothing: the batch ends soon.
func (w smallWriter) forgetChunks() error { return nil }

func (w smallWriter) drain() error { return nil }
