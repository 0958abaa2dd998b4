package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/buckets/schema"
)

// logFlags are the flags of a server's log. They win over server.log of alyx.yml.
type logFlags struct{ level, format string }

func (f *logFlags) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.level, "log-level", "", "the least that is logged: debug, info, warn or error; default info, or server.log.level of alyx.yml")
	cmd.Flags().StringVar(&f.format, "log-format", "", "text or json; default text, or server.log.format of alyx.yml")
}

func (f *logFlags) check() error {
	for _, c := range []struct {
		flag, value string
		words       []string
	}{{"--log-level", f.level, schema.LogLevels()}, {"--log-format", f.format, schema.LogFormats()}} {
		if c.value != "" && !slices.Contains(c.words, c.value) {
			return usageError{fmt.Errorf("%s %q: use %s", c.flag, c.value, strings.Join(c.words, ", "))}
		}
	}
	return nil
}

// choose returns what counts: a flag, what the configuration says, or the default.
func (f *logFlags) choose(c *schema.Config) (level, format string) {
	if c == nil {
		c = &schema.Config{}
	}
	return cmp.Or(f.level, string(c.Server.Log.Level), "info"), cmp.Or(f.format, string(c.Server.Log.Format), "text")
}

// A serverLog is the log of a server, whose level may change.
type serverLog struct {
	*slog.Logger
	level  slog.LevelVar
	format string
}

func (f *logFlags) open(w io.Writer, c *schema.Config) *serverLog {
	l := &serverLog{}
	level, format := f.choose(c)
	l.setLevel(level)
	l.format = format
	opts := &slog.HandlerOptions{Level: &l.level}
	var h slog.Handler = slog.NewTextHandler(w, opts)
	if format == "json" {
		h = slog.NewJSONHandler(w, opts)
	}
	l.Logger = slog.New(api.SecretsHandler{Handler: h})
	return l
}

// setLevel sets the least that is logged, one of schema.LogLevels, and reports
// whether that is a change.
func (l *serverLog) setLevel(word string) bool {
	var level slog.Level
	if err := level.UnmarshalText([]byte(word)); err != nil || level == l.level.Level() {
		return false
	}
	l.level.Set(level)
	return true
}
