package chunker

import _ "embed"

//go:embed testdata/golden.txt
var golden string

// Golden returns cuts that never move, for clients to check themselves
// against: the text of testdata/golden.txt, which FORMAT.md describes.
func Golden() string { return golden }
