package buckets_test

import (
	"bytes"
	"errors"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/cas"
)

// defaultPolicy is what the zero Policy means: each field of it, and of the structs
// in it.
var defaultPolicy = map[string]any{
	"Domain":      "local", // the only one
	"Profile":     "balanced",
	"Compression": cas.Compression{Codec: cas.Zstd}, "Uncompressed": false,
	"Digests":            []string(nil),
	"Limits.MaxFileSize": int64(0), "Limits.MaxTotalSize": int64(0), "Limits.MaxOwnerSize": int64(0), "Limits.MaxComposedSize": int64(5e9),
	"Limits.Types": []string(nil), "Limits.Extensions": []string(nil), "Limits.TypeCheck": buckets.TypeSniff,
	"Appends.MinSize": int64(0), "Appends.MaxAppend": int64(0), "Appends.MinAppend": int64(0),
	"Access.Rules": 0, "Access.FileRules": false, "Access.Disabled": false, "Access.SignedURLTTL": 7 * 24 * time.Hour, "Access.LinkByRead": false,
	"Versions.Off": false, "Versions.Keep": 0, "Versions.KeepFor": time.Duration(0),
	"Trash.Off": false, "Trash.KeepFor": 30 * 24 * time.Hour, "Trash.Forever": false,
	"InlineTypes": []string(nil), "CacheControl": "", "MaxUploads": 1000, "UploadExpiry": 24 * time.Hour,
	"Dedup": buckets.DedupPrincipal, "Acknowledge": buckets.AckRemote,
}

// The zero value of a policy, that of a schema's bucket, and an entry of
// schema.yaml without keys are one and the same bucket: the defaults.
func TestZeroValuesAreDefaults(t *testing.T) {
	fromStruct, err := buckets.Policies(&schema.Schema{Buckets: map[string]*schema.Bucket{"b": {}}})
	must(t, err)
	cfg := &schema.Config{Storage: schema.Storage{Backends: map[string]*schema.Backend{"local": {}}}}
	parsed, err := schema.Parse("schema.yaml", []byte("buckets: {b: {}}"), cfg)
	must(t, err)
	fromText, err := buckets.Policies(parsed)
	must(t, err)
	for name, policies := range map[string]map[string]buckets.Policy{
		"buckets.Policy{}": {"b": {}}, "schema.Bucket{}": fromStruct, "b: {}": fromText,
	} {
		t.Run(name, func(t *testing.T) {
			s, err := local.Open(t.Context(), t.TempDir(), &local.Options{Buckets: policies})
			must(t, err)
			defer s.Close()
			b := bucket(t, s, "b")
			got := make(map[string]any)
			flatten(got, "", reflect.ValueOf(b.Policy()))
			for field, v := range got {
				if want, ok := defaultPolicy[field]; !ok || !reflect.DeepEqual(v, want) {
					t.Errorf("%s is %#v, want %#v", field, v, want)
				}
			}
			// The trusted caller may do everything, a principal nothing.
			f := put(t, b, "f", strings.Repeat("text ", 10000), nil)
			if f.StoredBytes*10 > f.NewBytes {
				t.Errorf("%d bytes of text take %d", f.NewBytes, f.StoredBytes)
			}
			put(t, b, "f", "newer", nil)
			if f, err := b.Stat(t.Context(), f.ID, nil); err != nil || f.VersionsCount != 2 {
				t.Errorf("%+v, %v, want that 2 versions are kept", f, err)
			}
			for _, who := range []*access.Principal{{}, {ID: "ann"}} {
				ann := b.As(who)
				_, read := ann.Open(t.Context(), f.ID, nil)
				_, create := ann.Put(t.Context(), "g", strings.NewReader("x"), nil)
				if !errors.Is(read, buckets.ErrNoFile) && !errors.Is(read, fs.ErrPermission) || !errors.Is(create, fs.ErrPermission) {
					t.Errorf("%q may read: %v, create: %v", who.ID, read, create)
				}
			}
		})
	}
}

// flatten notes the fields of v by their paths.
func flatten(out map[string]any, prefix string, v reflect.Value) {
	for i := range v.NumField() {
		f, path := v.Field(i), prefix+v.Type().Field(i).Name
		switch {
		case f.Kind() == reflect.Struct && f.Type() != reflect.TypeFor[cas.Compression]():
			flatten(out, path+".", f)
		case f.Kind() == reflect.Map:
			out[path] = f.Len()
		default:
			out[path] = f.Interface()
		}
	}
}

// What is off, and what has no end, can still be said.
func TestDefaultsCanBeTurnedOff(t *testing.T) {
	cfg := &schema.Config{Storage: schema.Storage{Backends: map[string]*schema.Backend{"local": {}}}}
	parsed, err := schema.Parse("schema.yaml", []byte(`buckets: {b: {enabled: false, versioning: false, trash: off, signed_url_ttl: off, compression: none}}`), cfg)
	must(t, err)
	fromText, err := buckets.Policies(parsed)
	must(t, err)
	off := &schema.Bucket{Backend: "local", Disabled: true, Versioning: schema.Versioning{Off: true}, Trash: schema.Off, SignedURLTTL: schema.Off,
		Compression: schema.Compression{Codec: "none"}}
	fromStruct, err := buckets.Policies(&schema.Schema{Buckets: map[string]*schema.Bucket{"b": off}})
	must(t, err)
	for name, policies := range map[string]map[string]buckets.Policy{
		"buckets.Policy": {"b": {Uncompressed: true, Access: access.Policy{Disabled: true, SignedURLTTL: -1}, Versions: buckets.Versions{Off: true}, Trash: buckets.Trash{Off: true}}},
		"schema.Bucket":  fromStruct, "schema.yaml": fromText,
	} {
		t.Run(name, func(t *testing.T) {
			s, err := local.Open(t.Context(), t.TempDir(), &local.Options{Buckets: policies})
			must(t, err)
			defer s.Close()
			p := bucket(t, s, "b").Policy()
			if !p.Access.Disabled || p.Access.SignedURLTTL > 0 || !p.Versions.Off || !p.Trash.Off || p.Compression != (cas.Compression{}) {
				t.Errorf("%+v", p)
			}
			if f := put(t, bucket(t, s, "b"), "f", string(bytes.Repeat([]byte("text "), 10000)), nil); f.StoredBytes < f.NewBytes {
				t.Errorf("%d bytes of text take %d", f.NewBytes, f.StoredBytes)
			}
		})
	}
	s := open(t, nil)
	for _, p := range []buckets.Policy{{Trash: buckets.Trash{Forever: true, Off: true}}, {Trash: buckets.Trash{Forever: true, KeepFor: time.Hour}}} {
		if err := s.SetPolicies(t.Context(), map[string]buckets.Policy{"demo": p}); err == nil || !strings.Contains(err.Error(), "one of Off, KeepFor and Forever") {
			t.Errorf("%+v: %v", p.Trash, err)
		}
	}
	must(t, s.SetPolicies(t.Context(), map[string]buckets.Policy{"demo": {Trash: buckets.Trash{Forever: true}}}))
	if p := bucket(t, s, "demo").Policy().Trash; p.KeepFor != 0 || !p.Forever {
		t.Errorf("%+v", p)
	}
}

// Where there are several backends, a bucket says which.
func TestNoBackendNamed(t *testing.T) {
	dir := t.TempDir()
	_, err := local.Open(t.Context(), dir, &local.Options{Buckets: map[string]buckets.Policy{"b": {}},
		Backends: map[string]local.Backend{"one": {}, "two": {Path: dir + "/two"}}})
	if err == nil || !strings.Contains(err.Error(), `bucket "b" names no backend, and there are 2`) {
		t.Errorf("%v", err)
	}
}

// What is one of a few words may be misspelt in a program as in a file.
func TestMisspeltPolicies(t *testing.T) {
	s := open(t, nil)
	for want, p := range map[string]buckets.Policy{
		`dedup "everything"`: {Dedup: "everything"}, `acknowledge "soon"`: {Acknowledge: "soon"}, `type_check "never"`: {Limits: buckets.Limits{TypeCheck: "never"}},
		"codec 9": {Compression: cas.Compression{Codec: 9}}, "level 10": {Compression: cas.Compression{Level: 10}}, `digest "crc"`: {Digests: []string{"crc"}},
	} {
		if err := s.SetPolicies(t.Context(), map[string]buckets.Policy{"demo": p}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	wrong := &schema.Schema{Buckets: map[string]*schema.Bucket{"b": {Compression: schema.Compression{Codec: "lz4"}}}}
	if _, err := buckets.Policies(wrong); err == nil || !strings.Contains(err.Error(), `compression "lz4"`) {
		t.Errorf("%v", err)
	}
}

// A program may name a bucket as a file may.
func TestBucketNames(t *testing.T) {
	s := open(t, nil)
	for name, want := range map[string]string{"": "want a small letter", "../x": "want a small letter", "Photos": "want a small letter", "a b": "want a small letter",
		"_alyx_files": "the system's", strings.Repeat("x", 200): "at most"} {
		if err := s.SetPolicies(t.Context(), map[string]buckets.Policy{"demo": {}, name: {}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// A principal of nil is nobody, and not the program itself.
func TestNilPrincipal(t *testing.T) {
	b := bucket(t, open(t, nil), "demo")
	f := put(t, b, "f", "x", nil)
	if _, err := b.As(nil).Open(t.Context(), f.ID, nil); !errors.Is(err, buckets.ErrNoFile) {
		t.Errorf("open: %v", err)
	}
	_, err := b.As(nil).Put(t.Context(), "g", strings.NewReader("x"), nil)
	wantErr(t, "put", err, fs.ErrPermission)
	_, err = b.As(nil).Put(t.Context(), "g", strings.NewReader("x"), &buckets.PutOptions{Owner: "ann"})
	wantErr(t, "put for another", err, fs.ErrPermission)
}
