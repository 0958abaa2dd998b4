package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A result is one step of one tool.
type result struct {
	tool, step string
	wall, cpu  time.Duration
	peak       int64 // bytes of memory
	stored     int64 // bytes on disk after the step
}

// runRound stores the corpus, stores it again, and restores it.
func (t *tool) runRound(ctx context.Context, work, corpus string) ([]result, error) {
	dir, err := os.MkdirTemp(work, t.name+"-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	repo, out := filepath.Join(dir, "repo"), filepath.Join(dir, "out")
	fill := strings.NewReplacer("{bin}", t.bin, "{repo}", repo, "{src}", corpus, "{out}", out)
	for _, line := range t.setup {
		if _, err := t.measure(ctx, fill, line); err != nil {
			return nil, err
		}
	}
	var rs []result
	for _, step := range []string{"ingest", "again", "restore"} {
		line := t.ingest
		if step == "restore" {
			line = t.restore
		}
		r, err := t.measure(ctx, fill, line)
		if err != nil {
			return nil, err
		}
		r.tool, r.step = t.name, step
		if r.stored, err = treeSize(repo); err != nil {
			return nil, err
		}
		rs = append(rs, r)
	}
	return rs, compareTrees(corpus, t.restoredTree(out, corpus))
}

// measure runs a command line to its end.
func (t *tool) measure(ctx context.Context, fill *strings.Replacer, line []string) (result, error) {
	args := make([]string, len(line))
	for i, a := range line {
		args[i] = fill.Replace(a)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = os.Environ()
	for _, e := range t.env {
		cmd.Env = append(cmd.Env, fill.Replace(e))
	}
	start := time.Now()
	out, err := cmd.CombinedOutput()
	r := result{wall: time.Since(start)}
	if err != nil {
		return r, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	r.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	r.peak = peakMemory(cmd.ProcessState)
	return r, nil
}
