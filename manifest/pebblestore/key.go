package pebblestore

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/cairn-store/cairn/manifest"
)

// The first letters of keys, with what follows them → the value.
const (
	keyFormat  = 'v' // "" → format version
	keyDomain  = 'd' // domain → its counters
	keyChunk   = 'c' // domain, digest → chunk entry
	keyFrame   = 'f' // domain, frame → frame entry
	keyPack    = 'p' // domain, pack → pack entry
	keyPlace   = 'l' // domain, pack, offset, frame → "" for each frame
	keySource  = 'q' // domain, digest, frame → "" for each source of a frame
	keySegment = 's' // domain, digest → encoded segment
	keyFile    = 'F' // file → row
	keyRow     = 'M' // manifest → row
	keyVersion = 'V' // file, version number → manifest
	keyName    = 'N' // bucket, path → active file
	keyHidden  = 'T' // bucket, file → "" for files that are not active
	keyUsage   = 'U' // bucket → usage
	keyOwner   = 'W' // bucket, owner → usage
	keyOutbox  = 'O' // number → commit whose records may not be in packs yet
	keyNumber  = 'Q' // "" → the highest number given to a commit
	keyGone    = 'X' // file or manifest → number of the commit that removed it for good
	keyMark    = 'Y' // number of a commit, file or manifest → "" for those that it removed

	keyUpload      = 'u' // bucket, upload → row
	keyPart        = 'P' // upload, part number → references
	keyRest        = 'R' // upload → bytes after its last whole chunk
	keyHeld        = 'H' // bucket, hash of the principal, upload → bytes held, of uploads under way
	keyHeldSum     = 'z' // bucket → bytes that all uploads under way hold
	keyLeftover    = 'a' // domain, epoch, hash of the principal, bucket → bytes left by uploads that ended
	keyLeftoverSum = 'b' // bucket, hash of the principal or "" → bytes of those
	keyJoin        = 'J' // bucket, part, whole → "" for uploads under way that wait for parts
	keyGrant       = 'g' // bucket, grant → row
	keyUses        = 'n' // bucket, grant → uses
	keySigned      = 'o' // hash of the signer, bucket, grant → ""
	keyAPIKey      = 'k' // key → row
	keySignKey     = 'y' // key → row
	keyReceipt     = 'r' // scope, digest → time
	keyOnce        = 'i' // bucket, key → row
	keyHome        = 'h' // bucket → row
	keyIdentity    = 'I' // name → ID
	keyClock       = 't' // "" → the latest accepted time
	keyGrave       = 'G' // domain, number of a commit, place in it → row
	keyCharge      = 'D' // domain, pack, cause → row
	keyFreed       = 'L' // number of an entry of the ledger → row
	keyDead        = 'x' // domain, writer → census of its packs that need not exist
	keyScrub       = 'S' // domain, pack → row
	keyPoint       = 'B' // day, domain → row
	keyExpiry      = 'E' // see expiry.go
	keyLink        = 'A' // link → row
	keyFileLink    = 'C' // file, link → "" for links that stand or are due
	keyRecordLink  = 'K' // hash of the record, link → "" for confirmed links
	keyHostLink    = 'w' // host, link → "" for links that stand or are due
	keyEndedLink   = 'm' // bucket, time, link → "" for the others
	keyLinkSums    = 'Z' // file or version → sums of its links; p, hash of the principal → pending links
	keyLinkEvent   = 'e' // file → "" for those whose hosts are to be told
	keyHost        = 'j' // host → row
	keyAudit       = '1' // number of a commit, place in it → note that was not written elsewhere yet
)

// prefixEnd returns the first key after all keys that begin with prefix.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// domainKey is a letter, the domain and an ID in it.
func domainKey(letter byte, domain string, id []byte) []byte {
	k := make([]byte, 0, 2+len(domain)+len(id))
	k = append(k, letter, byte(len(domain)))
	k = append(k, domain...)
	return append(k, id...)
}

func fileKey(id manifest.FileID) []byte   { return append([]byte{keyFile}, id...) }
func rowKey(id manifest.VersionID) []byte { return append([]byte{keyRow}, id...) }
func goneKey[T ~string](id T) []byte      { return append([]byte{keyGone}, id...) }

func markKey(seq uint64, id string) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{keyMark}, seq), id...)
}

func versionKey(id manifest.FileID, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte{keyVersion}, id...), n)
}

// bucketKey is a letter, the bucket, a zero byte and the rest. Bucket names
// hold no zero byte.
func bucketKey(letter byte, bucket, rest string) []byte {
	k := append([]byte{letter}, bucket...)
	k = append(k, 0)
	return append(k, rest...)
}

// splitBucket reads what bucketKey wrote after the letter.
func splitBucket(k []byte) (bucket, rest string, ok bool) {
	return strings.Cut(string(k), "\x00")
}

func outboxKey(seq uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{keyOutbox}, seq)
}

// parseUvarints reads n numbers that fill p.
func parseUvarints(p []byte, n int) ([]uint64, bool) {
	out := make([]uint64, n)
	for i := range out {
		v, k := binary.Uvarint(p)
		if k <= 0 {
			return nil, false
		}
		out[i], p = v, p[k:]
	}
	return out, len(p) == 0
}

func usageKey(bucket string) []byte { return append([]byte{keyUsage}, bucket...) }

func appendUsage(b []byte, u *manifest.Usage) []byte {
	b = append(b, entryVersion)
	for _, n := range u.Sums() {
		b = binary.AppendUvarint(b, uint64(*n))
	}
	return b
}

func parseUsage(p []byte) (u manifest.Usage, err error) {
	if len(p) == 0 || p[0] != entryVersion {
		return u, fmt.Errorf("pebblestore: usage: %w", errEntry)
	}
	sums := u.Sums()
	n, ok := parseUvarints(p[1:], len(sums))
	if !ok { // written before the last sum was counted
		n, ok = parseUvarints(p[1:], len(sums)-1)
	}
	if !ok {
		return u, fmt.Errorf("pebblestore: usage: %w", errEntry)
	}
	for i := range n {
		*sums[i] = int64(n[i])
	}
	return u, nil
}
