package local_test

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/internal"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/buckets/scrub"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/manifest"
)

// A closingCall is a call of each method that reads or changes anything, of the store and of
// what comes from it.
type closingCall = func(ctx context.Context, c *closing) error

// pure are the methods that only look at the value itself, or at this process.
var pure = map[string]string{
	"Store.":   "Buckets ClockError Close CollectStatus Keys Linker PauseCollect",
	"Bucket.":  "As Name Policy Chunker Grants Intake Via ViaRecord",
	"Object.":  "Expect Path",
	"Uploads.": "Name Policy",
	"Host.":    "Name Session ResumeRun",
	"Run.":     "Counts Token",
}

// errorOf drops what a call returns beside its error.
func errorOf[T any](_ T, err error) error { return err }

func errorOf2[T, U any](_ T, _ U, err error) error { return err }

var closingCalls = map[string]closingCall{
	// Store.
	"Store.ApplySchema": func(ctx context.Context, c *closing) error {
		cfg, err := schema.ParseConfig("alyx.yml", []byte("storage: {backends: {local: {type: filesystem, filesystem: {path: x}}}}"), nil)
		if err != nil {
			return err
		}
		sc, err := schema.Parse("schema.yaml", []byte("buckets: {a: {backend: local}, b: {backend: local}}"), cfg)
		if err != nil {
			return err
		}
		return c.s.ApplySchema(ctx, sc)
	},
	"Store.Bucket": func(ctx context.Context, c *closing) error { return errorOf(c.s.Bucket("a")) },
	"Store.Collect": func(ctx context.Context, c *closing) error {
		return errorOf(c.s.Collect(ctx, &collect.Options{Full: true}))
	},
	"Store.Dedup": func(ctx context.Context, c *closing) error { return errorOf(c.s.Dedup(ctx)) },
	"Store.Dump":  func(ctx context.Context, c *closing) error { return drain(c.s.Dump(ctx)) },
	"Store.Explain": func(ctx context.Context, c *closing) error {
		return errorOf(c.s.Explain(ctx, "a", access.OpRead, c.file.ID, nil, nil))
	},
	"Store.ExplainChunk": func(ctx context.Context, c *closing) error {
		return errorOf(c.s.ExplainChunk(ctx, c.first))
	},
	"Store.ExplainPack": func(ctx context.Context, c *closing) error {
		return errorOf(c.s.ExplainPack(ctx, c.pack))
	},
	"Store.ExplainFile": func(ctx context.Context, c *closing) error { return errorOf(c.s.ExplainFile(ctx, c.file.ID, nil)) },
	"Store.Ledger":      func(ctx context.Context, c *closing) error { return drain(c.s.Ledger(ctx)) },
	"Store.Migrate": func(ctx context.Context, c *closing) error {
		return errorOf(c.s.Migrate(ctx, "a", "local", nil))
	},
	"Store.PreviewRemoval": func(ctx context.Context, c *closing) error {
		return errorOf(c.s.PreviewRemoval(ctx, &buckets.Removal{Bucket: "a"}, nil))
	},
	"Store.Quarantine":          func(ctx context.Context, c *closing) error { return drain(c.s.Quarantine(ctx)) },
	"Store.ScanQuarantine":      func(ctx context.Context, c *closing) error { return errorOf(c.s.ScanQuarantine(ctx)) },
	"Store.Ready":               func(ctx context.Context, c *closing) error { return c.s.Ready(ctx) },
	"Store.ReportDedup":         func(ctx context.Context, c *closing) error { return errorOf(c.s.ReportDedup(ctx, nil)) },
	"Store.ReportFragmentation": func(ctx context.Context, c *closing) error { return errorOf(c.s.ReportFragmentation(ctx, nil)) },
	"Store.ReportUsage":         func(ctx context.Context, c *closing) error { return errorOf(c.s.ReportUsage(ctx, nil)) },
	"Store.ReportGarbage":       func(ctx context.Context, c *closing) error { return errorOf(c.s.ReportGarbage(ctx, nil)) },
	"Store.ReportOrphans":       func(ctx context.Context, c *closing) error { return errorOf(c.s.ReportOrphans(ctx, nil)) },
	"Store.Run": func(ctx context.Context, c *closing) error {
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		return c.s.Run(ctx)
	},
	"Store.Scrub":       func(ctx context.Context, c *closing) error { return errorOf(c.s.Scrub(ctx, &scrub.Options{All: true})) },
	"Store.ScrubStatus": func(ctx context.Context, c *closing) error { return errorOf(c.s.ScrubStatus(ctx)) },
	"Store.Send":        func(ctx context.Context, c *closing) error { return c.s.Send(ctx) },
	"Store.SetPolicies": func(ctx context.Context, c *closing) error { return c.s.SetPolicies(ctx, closingOptions().Buckets) },
	"Store.Stored": func(ctx context.Context, c *closing) error {
		return c.s.Stored(ctx, internal.Pass{}, func(in *buckets.Stored) error { return drain(in.Meta.AllRows(ctx, "")) })
	},
	"Store.Sweep":      func(ctx context.Context, c *closing) error { return errorOf(c.s.Sweep(ctx)) },
	"Store.TrustClock": func(ctx context.Context, c *closing) error { return c.s.TrustClock(ctx) },

	// Bucket.
	"Bucket.Chunk": func(ctx context.Context, c *closing) error {
		return errorOf(c.a.Chunk(ctx, c.file.ID, c.first.String(), nil))
	},
	"Bucket.Chunks": func(ctx context.Context, c *closing) error { return drain(c.a.Chunks(ctx, c.file.ID, 0, nil)) },
	"Bucket.Compose": func(ctx context.Context, c *closing) error {
		f, err := c.a.Compose(ctx, "composed", []buckets.Piece{{File: c.file.ID, Length: -1}, {Data: []byte("end")}}, nil)
		return c.stored(f, err, slices.Concat(closingTwo, []byte("end")))
	},
	"Bucket.Copy": func(ctx context.Context, c *closing) error {
		f, err := c.a.Copy(ctx, c.file.ID, c.b, nil)
		return c.stored(f, err, closingTwo)
	},
	"Bucket.CountReferences": func(ctx context.Context, c *closing) error { return c.a.CountReferences(ctx, c.file) },
	"Bucket.CountUse":        func(ctx context.Context, c *closing) error { return c.a.As(c.bearer).CountUse(ctx) },
	"Bucket.Delete": func(ctx context.Context, c *closing) error {
		f, err := c.a.Delete(ctx, c.file.ID, nil)
		return c.then(err, func(t *testing.T, s *buckets.Store) {
			if _, err := bucket(t, s, "a").Stat(t.Context(), f.ID, nil); err == nil {
				t.Error("a file that was deleted is there")
			}
		})
	},
	"Bucket.DeleteVersion": func(ctx context.Context, c *closing) error { return c.a.DeleteVersion(ctx, c.file.ID, 1) },
	"Bucket.Diff":          func(ctx context.Context, c *closing) error { return errorOf(c.a.Diff(ctx, c.file.ID, 1, 2)) },
	"Bucket.Edit": func(ctx context.Context, c *closing) error {
		f, err := c.a.Edit(ctx, c.file.ID, []buckets.Piece{{Data: closingNew}, {File: c.file.ID, Length: 1000}}, nil)
		return c.stored(f, err, slices.Concat(closingNew, closingTwo[:1000]))
	},
	"Bucket.Extend": func(ctx context.Context, c *closing) error {
		f, err := c.a.Extend(ctx, c.file.ID, bytes.NewReader(closingNew), int64(len(closingNew)), nil)
		return c.stored(f, err, slices.Concat(closingTwo, closingNew))
	},
	"Bucket.FS":   func(ctx context.Context, c *closing) error { return errorOf(fs.ReadFile(c.a.FS(ctx), "d/file")) },
	"Bucket.List": func(ctx context.Context, c *closing) error { return drain(c.a.List(ctx, nil)) },
	"Bucket.ListPage": func(ctx context.Context, c *closing) error {
		return errorOf(c.a.ListPage(ctx, &buckets.PageOptions{Count: true, Folders: true}))
	},
	"Bucket.Open": func(ctx context.Context, c *closing) error {
		o, err := c.a.Open(ctx, c.file.ID, nil)
		if err != nil {
			return err
		}
		defer o.Close()
		_, err = io.Copy(io.Discard, o)
		return err
	},
	"Bucket.Overwrite": func(ctx context.Context, c *closing) error {
		f, err := c.a.Overwrite(ctx, c.file.ID, 10, bytes.NewReader(closingNew[:5000]), 5000, nil)
		return c.stored(f, err, slices.Concat(closingTwo[:10], closingNew[:5000], closingTwo[5010:]))
	},
	"Bucket.Purge": func(ctx context.Context, c *closing) error {
		return c.then(c.a.Purge(ctx, c.file.ID, nil), func(t *testing.T, s *buckets.Store) {
			if _, err := bucket(t, s, "a").Stat(t.Context(), c.file.ID, &buckets.GetOptions{Trashed: true}); err == nil {
				t.Error("a file that was purged is there")
			}
		})
	},
	"Bucket.CheckPut": func(ctx context.Context, c *closing) error { return c.a.CheckPut(ctx, "new", nil) },
	"Bucket.Put": func(ctx context.Context, c *closing) error {
		f, err := c.a.Put(ctx, "new", bytes.NewReader(closingNew), nil)
		return c.stored(f, err, closingNew)
	},
	"Bucket.References": func(ctx context.Context, c *closing) error {
		return errorOf2(c.a.References(ctx, c.file.ID, "", 10))
	},
	"Bucket.Replace": func(ctx context.Context, c *closing) error {
		f, err := c.a.Replace(ctx, c.file.ID, bytes.NewReader(closingNew), nil)
		return c.stored(f, err, closingNew)
	},
	"Bucket.RestoreVersion": func(ctx context.Context, c *closing) error {
		f, err := c.a.RestoreVersion(ctx, c.file.ID, 1)
		return c.stored(f, err, closingOne)
	},
	"Bucket.Stat":     func(ctx context.Context, c *closing) error { return errorOf(c.a.Stat(ctx, c.file.ID, nil)) },
	"Bucket.StatPath": func(ctx context.Context, c *closing) error { return errorOf(c.a.StatPath(ctx, "d/file")) },
	"Bucket.Truncate": func(ctx context.Context, c *closing) error {
		f, err := c.a.Truncate(ctx, c.file.ID, 50_000, nil)
		return c.stored(f, err, closingTwo[:50_000])
	},
	"Bucket.Undelete": func(ctx context.Context, c *closing) error {
		f, err := c.a.Undelete(ctx, c.trashed.ID)
		return c.stored(f, err, closingOne)
	},
	"Bucket.Update": func(ctx context.Context, c *closing) error {
		name := "renamed"
		f, err := c.a.Update(ctx, c.file.ID, &buckets.Patch{Name: &name})
		return c.then(err, func(t *testing.T, s *buckets.Store) {
			if got, err := bucket(t, s, "a").StatPath(t.Context(), f.Path()); err != nil || got.ID != f.ID {
				t.Errorf("a renamed file: %+v, %v", got, err)
			}
		})
	},
	"Bucket.Usage":         func(ctx context.Context, c *closing) error { return errorOf(c.a.Usage(ctx)) },
	"Bucket.Versions":      func(ctx context.Context, c *closing) error { return drain(c.a.Versions(ctx, c.file.ID)) },
	"Bucket.VersionsBelow": func(ctx context.Context, c *closing) error { return drain(c.a.VersionsBelow(ctx, c.file.ID, 9)) },

	// What is open.
	"Object.Read":    func(ctx context.Context, c *closing) error { return errorOf(c.object.Read(make([]byte, 10))) },
	"Object.ReadAt":  func(ctx context.Context, c *closing) error { return errorOf(c.object.ReadAt(make([]byte, 10), 5)) },
	"Object.Seek":    func(ctx context.Context, c *closing) error { return errorOf(c.object.Seek(0, io.SeekStart)) },
	"Object.WriteTo": func(ctx context.Context, c *closing) error { return errorOf(c.object.WriteTo(io.Discard)) },
	"Object.Close":   func(ctx context.Context, c *closing) error { return c.object.Close() },
	"File.Read":      func(ctx context.Context, c *closing) error { return errorOf(c.open.Read(make([]byte, 10))) },
	"File.Close":     func(ctx context.Context, c *closing) error { return c.open.Close() },
	"Dir.ReadDir":    func(ctx context.Context, c *closing) error { return errorOf(c.dir.ReadDir(-1)) },

	// Uploads.
	"Uploads.Append": func(ctx context.Context, c *closing) error {
		u, err := c.up.Append(ctx, c.half, 1000, bytes.NewReader(closingNew[1000:]), nil)
		return c.then(err, func(t *testing.T, s *buckets.Store) {
			got, err := upload.New().In(bucket(t, s, "a")).Find(t.Context(), c.half)
			if err != nil || got.Offset < u.Offset {
				t.Errorf("an upload that stood at %d: %+v, %v", u.Offset, got, err)
			}
		})
	},
	"Uploads.AppendList": func(ctx context.Context, c *closing) error {
		return errorOf2(c.up.AppendList(ctx, c.listed, int64(len(c.chunks)), listing(c.chunks[:1])))
	},
	"Uploads.Begin":  func(ctx context.Context, c *closing) error { return errorOf(c.up.Begin(ctx, "begun", nil)) },
	"Uploads.Cancel": func(ctx context.Context, c *closing) error { return c.up.Cancel(ctx, c.half) },
	"Uploads.Commit": func(ctx context.Context, c *closing) error {
		return c.commit(ctx, c.sent)
	},
	"Uploads.Concat": func(ctx context.Context, c *closing) error {
		return errorOf(c.up.Concat(ctx, "joined", c.parts[:], nil))
	},
	"Uploads.Find":       func(ctx context.Context, c *closing) error { return errorOf(c.up.Find(ctx, c.half)) },
	"Uploads.Invalidate": func(ctx context.Context, c *closing) error { return c.up.Invalidate(ctx, c.half) },
	"Uploads.Join": func(ctx context.Context, c *closing) error {
		u, err := c.up.Concat(ctx, "joined", c.parts[:], nil)
		if err != nil {
			return err
		}
		return errorOf(c.up.Join(ctx, u.ID))
	},
	"Uploads.JoinAll": func(ctx context.Context, c *closing) error { return c.up.JoinAll(ctx, c.parts[0]) },
	"Uploads.Lacking": func(ctx context.Context, c *closing) error { return errorOf(c.up.Lacking(ctx, c.listed)) },
	"Uploads.ReceiveChunks": func(ctx context.Context, c *closing) error {
		if _, err := c.up.ReceiveChunks(ctx, c.listed, sendingOf(c.chunks)); err != nil {
			return err
		}
		return c.commit(ctx, c.listed)
	},
	"Uploads.Settle": func(ctx context.Context, c *closing) error { return errorOf(c.up.Settle(ctx, c.half)) },
	"Lacking.Each":   func(ctx context.Context, c *closing) error { return drain(c.lacking.Each(ctx)) },

	// Keys and grants.
	"Keys.Drop": func(ctx context.Context, c *closing) error { return c.s.Keys().Drop(ctx, c.keyID) },
	"Keys.List": func(ctx context.Context, c *closing) error { return errorOf(c.s.Keys().List(ctx)) },
	"Keys.New": func(ctx context.Context, c *closing) error {
		token, _, err := c.s.Keys().New(ctx, manifest.APIKey{Name: "new", Operator: true}, time.Hour)
		return c.then(err, func(t *testing.T, s *buckets.Store) { must(t, errorOf(s.Keys().Principal(t.Context(), token))) })
	},
	"Keys.Principal":     func(ctx context.Context, c *closing) error { return errorOf(c.s.Keys().Principal(ctx, c.token)) },
	"Keys.RotateSigning": func(ctx context.Context, c *closing) error { return errorOf(c.s.Keys().RotateSigning(ctx, false)) },
	"Grants.Get": func(ctx context.Context, c *closing) error {
		return errorOf(c.asOperator().Grants().Get(ctx, c.grant.ID))
	},
	"Grants.List":   func(ctx context.Context, c *closing) error { return errorOf(c.asOperator().Grants().List(ctx)) },
	"Grants.Redeem": func(ctx context.Context, c *closing) error { return errorOf(c.a.Grants().Redeem(ctx, c.signed, "")) },
	"Grants.Revoke": func(ctx context.Context, c *closing) error { return c.asOperator().Grants().Revoke(ctx, c.grant.ID) },
	"Grants.Sign": func(ctx context.Context, c *closing) error {
		return errorOf2(c.asOperator().Grants().Sign(ctx, access.Grant{Op: access.GrantDownload, File: c.file.ID}, time.Hour))
	},

	// Links.
	"Host.Acknowledge": func(ctx context.Context, c *closing) error { return c.host.Acknowledge(ctx, manifest.NewLinkID()) },
	"Host.BeginRun":    func(ctx context.Context, c *closing) error { return errorOf(c.host.BeginRun(ctx, nil)) },
	"Host.Cancel":      func(ctx context.Context, c *closing) error { return c.host.Cancel(ctx, c.hold.Token) },
	"Host.Confirm":     func(ctx context.Context, c *closing) error { return c.host.Confirm(ctx, c.hold.Token) },
	"Host.End":         func(ctx context.Context, c *closing) error { return c.host.End(ctx) },
	"Host.EndSession":  func(ctx context.Context, c *closing) error { return c.host.EndSession(ctx, c.host.Session()) },
	"Host.Events": func(ctx context.Context, c *closing) error {
		_, _, _, err := c.host.Events(ctx, links.Place{}, 10)
		return err
	},
	"Host.HandleEvents": func(ctx context.Context, c *closing) error {
		return c.host.HandleEvents(ctx, func(context.Context, links.Event) error { return nil })
	},
	"Host.Prepare": func(ctx context.Context, c *closing) error {
		hold, err := c.host.Prepare(ctx, nil, c.change("2"))
		if err != nil {
			return err
		}
		return c.host.Confirm(ctx, hold.Token)
	},
	"Host.Reconcile": func(ctx context.Context, c *closing) error {
		return errorOf(c.host.Reconcile(ctx, func(context.Context, links.Link) (bool, error) { return true, nil },
			func(func(links.Row, error) bool) {}, nil))
	},
	"Host.Resolve": func(ctx context.Context, c *closing) error {
		return errorOf(c.host.Resolve(ctx, nil, []links.Item{{ID: c.file.ID}}))
	},
	"Host.Unreconciled": func(ctx context.Context, c *closing) error { return errorOf(c.host.Unreconciled(ctx)) },
	"Run.AddRows": func(ctx context.Context, c *closing) error {
		return errorOf(c.run.AddRows(ctx, []links.Row{{Collection: "posts", Record: "3", Field: "file", Values: []string{c.file.ID}}}, true))
	},
	"Run.Drop": func(ctx context.Context, c *closing) error {
		return c.asked.Drop(ctx, c.denied)
	},
	"Run.End":       func(ctx context.Context, c *closing) error { return errorOf(c.run.End(ctx)) },
	"Run.NextLinks": func(ctx context.Context, c *closing) error { return errorOf2(c.run.NextLinks(ctx, nil, 10)) },
	"links.Attach": func(ctx context.Context, c *closing) error {
		return errorOf(links.Attach(ctx, c.s, "host", c.host.Session()))
	},
	"links.Open": func(ctx context.Context, c *closing) error {
		return errorOf(links.Open(ctx, c.s, &memoryKeeper{}, &links.Options{Name: "other", Fields: closingFields}))
	},
	"links.Hosts":      func(ctx context.Context, c *closing) error { return errorOf(links.Hosts(ctx, c.s)) },
	"links.FindHost":   func(ctx context.Context, c *closing) error { return errorOf(links.FindHost(ctx, c.s, "host")) },
	"links.CountLinks": func(ctx context.Context, c *closing) error { return errorOf(links.CountLinks(ctx, c.s, "host")) },
	"links.Forget":     func(ctx context.Context, c *closing) error { return errorOf2(links.Forget(ctx, c.s, "host")) },
}
