package main

import "path/filepath"

// A tool is a program and its command lines. {bin}, {repo}, {src} and {out}
// stand for the program, where it stores, what, and where it restores to.
type tool struct {
	name     string
	bin      string
	env      []string
	setup    [][]string
	ingest   []string
	restore  []string
	restored string // where below {out} the source's tree appears
}

func cairnTool(bin string) tool {
	return tool{name: "cairn", bin: bin,
		ingest:   []string{"{bin}", "put", "--data", "{repo}", "--bucket", "demo", "--digests", "none", "{src}"},
		restore:  []string{"{bin}", "get", "--data", "{repo}", "--recursive", "demo", "-o", "{out}"},
		restored: "."}
}

// peerTools are run with their own defaults, without caches outside {repo}.
func peerTools() []tool {
	return []tool{
		{name: "restic", bin: "restic", env: []string{"RESTIC_PASSWORD=bench", "RESTIC_CACHE_DIR={repo}-cache"},
			setup:   [][]string{{"{bin}", "-q", "-r", "{repo}", "init"}},
			ingest:  []string{"{bin}", "-q", "-r", "{repo}", "backup", "--force", "{src}"},
			restore: []string{"{bin}", "-q", "-r", "{repo}", "restore", "latest", "--target", "{out}"}, restored: "{src}"},
		{name: "borg", bin: "borg", env: []string{"BORG_BASE_DIR={repo}-base", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes"},
			setup:   [][]string{{"{bin}", "init", "-e", "none", "{repo}"}},
			ingest:  []string{"{bin}", "create", "--files-cache", "disabled", "{repo}::{now:%s.%f}", "{src}"},
			restore: []string{"sh", "-c", "mkdir -p {out} && cd {out} && borg extract {repo}::$(borg list --last 1 --short {repo})"}, restored: "{src}"},
		{name: "kopia", bin: "kopia", env: []string{"KOPIA_PASSWORD=bench", "KOPIA_CONFIG_PATH={repo}.config", "KOPIA_CACHE_DIRECTORY={repo}-cache", "KOPIA_CHECK_FOR_UPDATES=false"},
			setup:   [][]string{{"{bin}", "repository", "create", "filesystem", "--path", "{repo}"}},
			ingest:  []string{"{bin}", "snapshot", "create", "--force-hash", "100", "{src}"},
			restore: []string{"{bin}", "restore", "{src}", "{out}"}, restored: "."},
		{name: "desync", bin: "desync",
			ingest:   []string{"sh", "-c", "mkdir -p {repo} && desync tar -i -s {repo} {repo}.caidx {src}"},
			restore:  []string{"sh", "-c", "mkdir -p {out} && desync untar --no-same-owner -i -s {repo} {repo}.caidx {out}"},
			restored: "."},
		{name: "casync", bin: "casync",
			ingest:   []string{"{bin}", "make", "--store={repo}", "{repo}.caidx", "{src}"},
			restore:  []string{"{bin}", "extract", "--store={repo}", "{repo}.caidx", "{out}"},
			restored: "."},
	}
}

// restoredTree returns the directory of a restored corpus.
func (t *tool) restoredTree(out, src string) string {
	if t.restored == "{src}" {
		return filepath.Join(out, src)
	}
	return out
}
