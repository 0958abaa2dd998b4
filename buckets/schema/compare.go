package schema

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// A Change is a key whose value differs between two files.
type Change struct {
	Key      string // its path, such as rules.read, or storage.backends.far.pack_size
	Old, New string // as a file might say it, "" where it says nothing
}

// Compare returns what keys of the configuration differ from those of before, in
// order. Values may be secrets, so they are left out.
func (c *Config) Compare(before *Config) (out []Change) {
	for _, part := range []struct {
		name     string
		old, now any
	}{{"storage", &before.Storage, &c.Storage}, {"auth", &before.Auth, &c.Auth}, {"server", &before.Server, &c.Server}} {
		for _, ch := range compareValues(part.name, valueOfAny(part.old), valueOfAny(part.now), nil) {
			out = append(out, Change{Key: ch.Key})
		}
	}
	return out
}

// Compare returns what keys of the bucket differ from those of before, in order.
func (b *Bucket) Compare(before *Bucket) []Change {
	return compareValues("", valueOfAny(before), valueOfAny(b), nil)
}

func valueOfAny(p any) reflect.Value { return reflect.ValueOf(p).Elem() }

// compareValues appends to out what differs below a path.
func compareValues(path string, old, now reflect.Value, out []Change) []Change {
	if reflect.DeepEqual(old.Interface(), now.Interface()) {
		return out
	}
	switch fields := fieldsOf(now); {
	case now.Kind() == reflect.Pointer && !old.IsNil() && !now.IsNil():
		return compareValues(path, old.Elem(), now.Elem(), out)
	case now.Kind() == reflect.Map:
		keys := make(map[string]bool)
		for _, m := range []reflect.Value{old, now} {
			for _, k := range m.MapKeys() {
				keys[k.String()] = true
			}
		}
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			a, b := old.MapIndex(reflect.ValueOf(k)), now.MapIndex(reflect.ValueOf(k))
			if a.IsValid() && b.IsValid() {
				out = compareValues(path+"."+k, a, b, out)
			} else {
				out = append(out, Change{Key: path + "." + k})
			}
		}
		return out
	case len(fields) > 0:
		for _, f := range fields {
			at := strings.TrimPrefix(path+"."+f.keys[0], ".")
			out = compareValues(at, old.Field(f.index), now.Field(f.index), out)
		}
		return out
	}
	return append(out, Change{path, textOf(old.Interface()), textOf(now.Interface())})
}

// textOf returns a value as a file might say it.
func textOf(v any) string {
	switch v := v.(type) {
	case Size:
		if v == 0 {
			return ""
		}
		return humanize.IBytes(uint64(v))
	case Duration:
		if v == Off {
			return "off"
		}
		return time.Duration(v).String()
	case Bound:
		return fmt.Sprint(max(v, 0)) // 0 is no bound
	case Not:
		return fmt.Sprint(!v)
	case []string:
		return strings.Join(v, " ")
	}
	return fmt.Sprint(v)
}
