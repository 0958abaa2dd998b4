package manifesttest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// newUpload returns an upload under way.
func newUpload(bucket, who string, held int64) *manifest.Upload {
	return &manifest.Upload{ID: manifest.NewUploadID(), Bucket: bucket, Who: who, Domain: domain, Chunker: "c", Length: -1, Held: held,
		Sums: map[string][]byte{"sha256": {0, 1}}, CreatedAt: day, ExpiresAt: day.Add(time.Hour)}
}

func (s *suite) putUploads(us ...*manifest.Upload) {
	s.t.Helper()
	s.update(func(tx manifest.Tx) error {
		for _, u := range us {
			if err := tx.PutUpload(s.ctx, u); err != nil {
				return err
			}
		}
		return nil
	})
}

func newRef(n byte) cas.Ref { return cas.Ref{Digest: cas.Sum([]byte{n}), Length: uint32(n)} }

func newRefs(ns ...byte) (out []cas.Ref) {
	for _, n := range ns {
		out = append(out, newRef(n))
	}
	return out
}

// partsOf returns the parts of an upload.
func (s *suite) partsOf(in manifest.Uploads, id manifest.UploadID, from uint64) (out [][]cas.Ref) {
	s.t.Helper()
	for p, err := range in.UploadParts(s.ctx, id, from) {
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// sortedIDs returns the IDs of uploads in order.
func sortedIDs(us ...*manifest.Upload) []manifest.UploadID {
	return slices.Sorted(slices.Values(uploadIDs(us)))
}

func uploadIDs(us []*manifest.Upload) (out []manifest.UploadID) {
	for _, u := range us {
		out = append(out, u.ID)
	}
	return out
}

func (s *suite) underWay(bucket string) (out []manifest.UploadID) {
	s.t.Helper()
	for u, err := range s.s.UploadsUnderWay(s.ctx, bucket) {
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, u.ID)
	}
	return out
}

func (s *suite) testHolding(bucket, who string, uploads int, bytes int64) {
	s.t.Helper()
	if h, err := s.s.UploadsHeld(s.ctx, bucket, who); err != nil || h != (manifest.Holding{Uploads: uploads, Bytes: bytes}) {
		s.t.Errorf("%q holds %+v in %q, %v, want %d of %d bytes", who, h, bucket, err, uploads, bytes)
	}
	all := int64(0)
	for u, err := range s.s.UploadsUnderWay(s.ctx, bucket) {
		if err != nil {
			s.t.Fatal(err)
		}
		all += u.Held
	}
	if sum, err := s.s.HeldBytes(s.ctx, bucket); err != nil || sum != all {
		s.t.Errorf("%d bytes are held in %q, %v, want %d", sum, bucket, err, all)
	}
}

func (s *suite) testUploads() {
	_, err := s.s.Upload(s.ctx, "b", manifest.NewUploadID())
	s.checkGone("an unknown upload", err)
	u := newUpload("b", "ann", 5)
	u.Joins = nil
	seq := s.lastCommit()
	s.update(func(tx manifest.Tx) error {
		for n, p := range [][]cas.Ref{newRefs(1, 2), newRefs(3), newRefs(1)} {
			if err := tx.PutPart(s.ctx, u.ID, uint64(n), p); err != nil {
				return err
			}
		}
		if err := errors.Join(tx.PutRest(s.ctx, u.ID, []byte("rest")), tx.PutUpload(s.ctx, u)); err != nil {
			return err
		}
		got, err := tx.Upload(s.ctx, "b", u.ID)
		if err != nil || !reflect.DeepEqual(got, u) || len(s.partsOf(tx, u.ID, 1)) != 2 {
			s.t.Errorf("in the transaction: %+v, %v", got, err)
		}
		h, err := tx.UploadsHeld(s.ctx, "b", "ann")
		if err != nil || h.Uploads != 1 || h.Bytes != 5 {
			s.t.Errorf("in the transaction: %+v, %v", h, err)
		}
		return nil
	})
	if s.lastCommit() != seq {
		s.t.Error("an upload made a commit")
	}
	s.restart()
	got, err := s.s.Upload(s.ctx, "b", u.ID)
	if err != nil || !reflect.DeepEqual(got, u) {
		s.t.Errorf("%+v, %v, want %+v", got, err, u)
	}
	if got := s.partsOf(s.s, u.ID, 0); !reflect.DeepEqual(got, [][]cas.Ref{newRefs(1, 2), newRefs(3), newRefs(1)}) {
		s.t.Errorf("parts %v", got)
	}
	if got := s.partsOf(s.s, u.ID, 2); !reflect.DeepEqual(got, [][]cas.Ref{newRefs(1)}) {
		s.t.Errorf("parts from 2: %v", got)
	}
	rest, err := s.s.UploadRest(s.ctx, u.ID)
	if err != nil || string(rest) != "rest" {
		s.t.Errorf("rest %q, %v", rest, err)
	}
	if _, err := s.s.Upload(s.ctx, "c", u.ID); err == nil {
		s.t.Error("an upload of another bucket is found")
	}
	s.update(func(tx manifest.Tx) error { return tx.PutRest(s.ctx, u.ID, nil) })
	if rest, err := s.s.UploadRest(s.ctx, u.ID); err != nil || len(rest) != 0 {
		s.t.Errorf("no rest: %q, %v", rest, err)
	}
}

// uploadEnds tests that the parts and the rest of an upload go when it ends, in
// every way.
func (s *suite) uploadEnds() {
	other := newUpload("b", "ann", 1)
	for what, end := range map[string]func(tx manifest.Tx, u *manifest.Upload) error{
		"committed": func(tx manifest.Tx, u *manifest.Upload) error {
			u.Manifest = manifest.NewVersionID()
			_, err := tx.DropParts(s.ctx, u.ID, 10)
			return errors.Join(err, tx.PutUpload(s.ctx, u))
		},
		"expired": func(tx manifest.Tx, u *manifest.Upload) error {
			u.Expired = true
			_, err := tx.DropParts(s.ctx, u.ID, 10)
			return errors.Join(err, tx.PutUpload(s.ctx, u))
		},
		"dropped": func(tx manifest.Tx, u *manifest.Upload) error {
			_, err := tx.DropParts(s.ctx, u.ID, 10)
			return errors.Join(err, tx.DropUpload(s.ctx, "b", u.ID))
		},
		"swept": func(tx manifest.Tx, u *manifest.Upload) error {
			u.Expired = true
			if err := tx.PutUpload(s.ctx, u); err != nil {
				return err
			}
			_, err := tx.SweepUploads(s.ctx, "b", day.Add(2*time.Hour), 10)
			return err
		},
	} {
		u := newUpload("b", "ann", 7)
		u.Joins = []manifest.UploadID{other.ID}
		s.putUploads(other, u)
		s.update(func(tx manifest.Tx) error {
			return errors.Join(tx.PutPart(s.ctx, u.ID, 0, newRefs(1)), tx.PutRest(s.ctx, u.ID, []byte("r")), tx.PutPart(s.ctx, other.ID, 0, newRefs(2)))
		})
		s.testHolding("b", "ann", 2, 8)
		s.update(func(tx manifest.Tx) error {
			u := *u
			if err := end(tx, &u); err != nil {
				return err
			}
			if got := s.partsOf(tx, u.ID, 0); len(got) != 0 {
				s.t.Errorf("%s: parts are left in the transaction: %v", what, got)
			}
			return nil
		})
		rest, err := s.s.UploadRest(s.ctx, u.ID)
		waiting, werr := s.s.UploadsWaiting(s.ctx, "b", other.ID, "", 10)
		if got := s.partsOf(s.s, u.ID, 0); len(got) != 0 || len(rest) != 0 || len(waiting) != 0 || errors.Join(err, werr) != nil {
			s.t.Errorf("%s: left are %v, %q, %v, %v", what, got, rest, uploadIDs(waiting), errors.Join(err, werr))
		}
		s.testHolding("b", "ann", 1, 1)
		if got := s.partsOf(s.s, other.ID, 0); len(got) != 1 {
			s.t.Errorf("%s: another's parts are gone", what)
		}
		s.update(func(tx manifest.Tx) error { return tx.DropUpload(s.ctx, "b", u.ID) })
	}
	s.update(func(tx manifest.Tx) error { return tx.DropUpload(s.ctx, "b", "u_none") })
}

// uploadLists tests the lists of uploads: by bucket, by principal, by the parts
// that they wait for, and by time.
func (s *suite) uploadLists() {
	part := newUpload("b", "ann", 3)
	part.Partial = true
	var all, waiting []*manifest.Upload
	for i := range 7 {
		u := newUpload("b", []string{"ann", "bob"}[i%2], int64(i))
		u.ExpiresAt = day.Add(time.Duration(10-i) * time.Minute)
		if i%2 == 0 {
			u.Joins = []manifest.UploadID{part.ID, part.ID}
			waiting = append(waiting, u)
		}
		all = append(all, u)
	}
	elsewhere := newUpload("b2", "ann", 100)
	s.putUploads(append(all, part, elsewhere)...)
	s.putUploads(append(all, part)...) // putting them again lists nothing twice
	s.testHolding("b", "ann", 5, 3+0+2+4+6)
	s.testHolding("b", "bob", 3, 1+3+5)
	s.testHolding("b", "an", 0, 0)
	s.restart()
	if got := s.underWay("b"); !slices.Equal(got, sortedIDs(append([]*manifest.Upload{part}, all...)...)) {
		s.t.Errorf("under way: %v", got)
	}
	got, err := s.s.UploadsOf(s.ctx, "b", "ann", 10)
	if want := uploadIDs([]*manifest.Upload{all[6], all[4], all[2], part}); err != nil || !slices.Equal(uploadIDs(got), want) {
		s.t.Errorf("of ann: %v, %v, want %v", uploadIDs(got), err, want)
	}
	if got, err := s.s.UploadsOf(s.ctx, "b", "ann", 2); err != nil || !slices.Equal(uploadIDs(got), uploadIDs([]*manifest.Upload{all[6], all[4]})) {
		s.t.Errorf("two of ann: %v, %v", uploadIDs(got), err)
	}
	var pages []manifest.UploadID
	for after := manifest.UploadID(""); ; {
		us, err := s.s.UploadsWaiting(s.ctx, "b", part.ID, after, 3)
		if err != nil {
			s.t.Fatal(err)
		}
		if len(us) == 0 {
			break
		}
		pages = append(pages, uploadIDs(us)...)
		after = pages[len(pages)-1]
	}
	if want := sortedIDs(waiting...); !slices.Equal(pages, want) {
		s.t.Errorf("waiting: %v, want %v", pages, want)
	}
	moved := *all[0]
	moved.Joins, moved.Held = moved.Joins[:0], 50
	s.putUploads(&moved)
	if us, err := s.s.UploadsWaiting(s.ctx, "b", part.ID, "", 10); err != nil || len(us) != 3 {
		s.t.Errorf("waiting after a change: %v, %v", uploadIDs(us), err)
	}
	s.testHolding("b", "ann", 5, 3+50+2+4+6)
	over, err := s.s.UploadsOver(s.ctx, "b", day.Add(6*time.Minute), 10) // those of 4 and 5 minutes, not of 6
	if want := uploadIDs([]*manifest.Upload{all[6], all[5]}); err != nil || !slices.Equal(uploadIDs(over), want) {
		s.t.Errorf("over: %v, %v, want %v", uploadIDs(over), err, want)
	}
	if over, err := s.s.UploadsOver(s.ctx, "b", day.Add(6*time.Minute), 1); err != nil || len(over) != 1 || over[0].ID != all[6].ID {
		s.t.Errorf("one that is over: %v, %v", uploadIDs(over), err)
	}
}

// uploadSweep tests that only expired uploads are removed, within the limit.
func (s *suite) uploadSweep() {
	var us []*manifest.Upload
	for i := range 10 {
		u := newUpload("b", "ann", 1)
		u.ExpiresAt, u.Expired = day.Add(time.Duration(i)*time.Minute), i%3 != 0
		us = append(us, u)
	}
	s.putUploads(us...)
	sweep := func(before time.Time, limit int) (n int) {
		s.t.Helper()
		s.update(func(tx manifest.Tx) (err error) {
			n, err = tx.SweepUploads(s.ctx, "b", before, limit)
			return err
		})
		return n
	}
	before := day.Add(8 * time.Minute) // 1, 2, 4, 5, 7 of those that have expired
	for _, want := range []int{2, 2, 1, 0} {
		if n := sweep(before, 2); n != want {
			s.t.Errorf("%d swept, want %d", n, want)
		}
	}
	for i, u := range us {
		_, err := s.s.Upload(s.ctx, "b", u.ID)
		if gone := err != nil; gone != (u.Expired && u.ExpiresAt.Before(before)) {
			s.t.Errorf("upload %d: %v", i, err)
		}
	}
}

// uploadParts tests that parts are dropped some at a time, also those of expired
// uploads.
func (s *suite) uploadParts() {
	u := newUpload("b", "ann", 1)
	u.ExpiresAt, u.Expired = day, true
	s.putUploads(u)
	s.update(func(tx manifest.Tx) error {
		for n := range uint64(25) {
			if err := tx.PutPart(s.ctx, u.ID, n, newRefs(byte(n+1))); err != nil {
				return err
			}
		}
		return nil
	})
	const limit = 10
	n := limit
	for calls := 0; n == limit; calls++ {
		before := len(s.partsOf(s.s, u.ID, 0))
		s.update(func(tx manifest.Tx) (err error) {
			if calls == 0 {
				_, err = tx.DropParts(s.ctx, u.ID, limit)
			} else {
				n, err = tx.SweepUploads(s.ctx, "b", day.Add(time.Hour), limit)
			}
			return err
		})
		if left := len(s.partsOf(s.s, u.ID, 0)); left > 0 && before-left > limit {
			s.t.Errorf("%d parts were dropped at once, want at most %d", before-left, limit)
		}
		if calls > 5 {
			s.t.Fatal("parts do not end")
		}
	}
	if _, err := s.s.Upload(s.ctx, "b", u.ID); err == nil || len(s.partsOf(s.s, u.ID, 0)) != 0 {
		s.t.Errorf("swept: error %v, %d parts are left", err, len(s.partsOf(s.s, u.ID, 0)))
	}
	s.update(func(tx manifest.Tx) error {
		if more, err := tx.DropParts(s.ctx, u.ID, limit); err != nil || more {
			s.t.Errorf("of no parts: %v, %v", more, err)
		}
		return nil
	})
}

// whileYielding tests that rows may be changed while a transaction yields them.
func (s *suite) whileYielding() {
	var us []*manifest.Upload
	for range 300 {
		us = append(us, newUpload("b", "ann", 1))
	}
	s.putUploads(us...)
	s.update(func(tx manifest.Tx) error {
		n := 0
		for u, err := range tx.UploadsUnderWay(s.ctx, "b") {
			if err != nil {
				return err
			}
			n++
			if n%2 == 0 {
				err = tx.DropUpload(s.ctx, "b", u.ID)
			} else {
				u.Held = 2
				err = tx.PutUpload(s.ctx, u)
			}
			if err != nil {
				return err
			}
			if _, err := tx.UploadsHeld(s.ctx, "b", "ann"); err != nil {
				return err
			}
		}
		if n != len(us) {
			return fmt.Errorf("%d of %d were yielded", n, len(us))
		}
		return nil
	})
	s.testHolding("b", "ann", 150, 300)
}
