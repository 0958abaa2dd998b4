package main

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/cas/pack"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// version and commit are set by the linker for a release, and where there is no
// repository to ask. Go notes both in other builds.
var version, commit string

// A build says what this program is.
type build struct {
	Version  string  `json:"version"`
	Commit   string  `json:"commit,omitempty"`
	Modified bool    `json:"modified,omitempty"` // files were changed since the commit
	Formats  formats `json:"formats"`
	Go       string  `json:"go"`
	Platform string  `json:"platform"`
}

// formats are the versions of what is stored.
type formats struct {
	Packs    int `json:"packs"`
	Database int `json:"database"`
	Records  int `json:"records"`
}

func thisBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildOf(info, version, commit)
}

// buildOf describes a build of which Go has noted info, and the linker a version and a
// commit, "" for none.
func buildOf(info *debug.BuildInfo, version, commit string) build {
	b := build{Version: version, Commit: commit, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Formats: formats{Packs: pack.Version, Database: pebblestore.FormatVersion, Records: manifest.FormatVersion}}
	if b.Version == "" && info.Main.Version != "(devel)" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = cmp.Or(b.Commit, s.Value)
		case "vcs.modified":
			b.Modified = commit == "" && s.Value == "true"
		}
	}
	b.Version = cmp.Or(strings.TrimPrefix(b.Version, "v"), "unknown")
	return b
}

func newVersion(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version, the commit, and the formats of what is stored", Args: wantArgs(cobra.NoArgs),
		Example: `  cairn version
  cairn version --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := thisBuild()
			from := cmp.Or(b.Commit, "unknown")
			if b.Modified {
				from += ", modified"
			}
			return t.showValue(cmd, b, "cairn %s\ncommit %s\nformats: packs %d, database %d, records %d\n%s %s\n",
				b.Version, from, b.Formats.Packs, b.Formats.Database, b.Formats.Records, b.Go, b.Platform)
		},
	}
}
