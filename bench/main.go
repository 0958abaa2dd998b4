// Command bench runs Cairn beside whichever of its peers it finds on PATH, as
// whole processes over the same files, and prints one table.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	corpus := flag.String("corpus", "", "directory of files to store (default: random and edited text files, made anew)")
	dir := flag.String("dir", "", "directory to work in (default: /dev/shm where there is one)")
	cairn := flag.String("cairn", "", "cairn binary (default: built from this clone)")
	against := flag.String("against", "", "another build of cairn to run in turn with it")
	peers := flag.String("peers", "restic,borg,kopia,desync,casync", "peers to look for on PATH")
	overHTTP := flag.Bool("http", false, "compare uploads by the tus protocol with tusd's instead")
	var far s3Options
	flag.StringVar(&far.versitygw, "s3", "", "path of versitygw: measure Cairn over S3, beside rclone where there is one, instead")
	flag.Int64Var(&far.size, "s3-size", 1<<30, "bytes of the file that -s3 stores")
	flag.IntVar(&far.small, "s3-files", 20_000, "small files that -s3 stores")
	flag.DurationVar(&far.delay, "s3-delay", 50*time.Millisecond, "what -s3 adds to every request in every second round")
	rounds := flag.Int("rounds", 3, "rounds; the table shows medians")
	var small chunkOptions
	flag.IntVar(&small.chunks, "chunks", 0, "fill a store with so many small chunks, collect, check and rebuild it, beside restic, instead")
	flag.StringVar(&small.source, "source", "", "directory for the files that -chunks stores, until they are stored (default: that of -dir)")
	flag.StringVar(&small.tools, "tools", "cairn,restic", "what -chunks measures, in this order")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *corpus, *dir, *cairn, *against, strings.Split(*peers, ","), *rounds, *overHTTP, &far, &small); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, corpus, dir, cairn, against string, peers []string, rounds int, overHTTP bool, far *s3Options, small *chunkOptions) error {
	if dir == "" {
		if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
			dir = "/dev/shm"
		}
	}
	work, err := os.MkdirTemp(dir, "cairn-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if cairn == "" {
		cairn = filepath.Join(work, "cairn")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", cairn, "./cmd/cairn").CombinedOutput(); err != nil {
			return fmt.Errorf("build cairn: %w\n%s", err, out)
		}
	}
	if far.versitygw != "" {
		far.rounds = rounds
		return runS3(ctx, work, cairn, far)
	}
	if small.chunks > 0 {
		return runChunks(ctx, work, cairn, small)
	}
	if overHTTP {
		return runHTTP(ctx, work, cairn, rounds)
	}
	if corpus == "" {
		corpus = filepath.Join(work, "corpus")
		if err := makeCorpus(corpus); err != nil {
			return err
		}
	}
	if corpus, err = filepath.Abs(corpus); err != nil {
		return err
	}
	size, err := treeSize(corpus)
	if err != nil {
		return err
	}
	tools := findTools(cairn, peers)
	if against != "" {
		other := cairnTool(against)
		other.name = "against"
		tools = append(tools, other)
	}
	results := make(map[string][]result)
	for range rounds {
		// Tools run in turn, so that a slow minute hurts all, and in the reverse
		// order from round to round, since the first finds memory cold.
		slices.Reverse(tools)
		for _, t := range tools {
			rs, err := t.runRound(ctx, work, corpus)
			if err != nil {
				fmt.Fprintf(os.Stderr, "bench: %s: %v\n", t.name, err)
				rs = []result{{tool: t.name, step: "failed"}}
			}
			for _, r := range rs {
				results[r.tool+" "+r.step] = append(results[r.tool+" "+r.step], r)
			}
		}
	}
	if rounds%2 == 1 {
		slices.Reverse(tools)
	}
	return printTable(os.Stdout, size, tools, results)
}

// findTools returns cairn and the peers that are on PATH.
func findTools(cairn string, peers []string) []tool {
	tools := []tool{cairnTool(cairn)}
	for _, t := range peerTools() {
		if !slices.Contains(peers, t.name) {
			continue
		}
		if _, err := exec.LookPath(t.name); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s is not on PATH\n", t.name)
			continue
		}
		tools = append(tools, t)
	}
	return tools
}
