package formattest

import (
	"encoding/base32"
	"encoding/hex"
)

// idText is the text of an ID: of a file (f_…, or a UUID) or of a manifest (m_…).
func idText(prefix, raw string) string {
	if len(raw) == 16 {
		h := hex.EncodeToString([]byte(raw))
		return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
	}
	alphabet := base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)
	return prefix + alphabet.EncodeToString([]byte(raw))
}
