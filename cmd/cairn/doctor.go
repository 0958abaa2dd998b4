package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/doctor"
)

func newDoctor(t *target) *cobra.Command {
	var url string
	opts := &doctor.Options{}
	cmd := &cobra.Command{
		Use: "doctor --url URL [flags]", Short: "Find out what proxies before a server do to its clients",
		Example: `  cairn doctor --url https://files.example.com
  cairn doctor --url https://files.example.com --origin https://app.example.com`,
		Long: `Probe a public URL as clients would: an upload that is killed and resumed, large, slow and chunked bodies, headers, ranges and
conditions of downloads, and with --origin what a browser asks first. It says what is wrong and which settings of nginx and Caddy mend it.

About 40 MiB are sent, and nothing is left behind. The exit status is 1 when there is a fault.`,
		Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if url == "" {
				url = t.server
			}
			if url == "" {
				return usageError{fmt.Errorf("doctor needs --url")}
			}
			if opts.Token = t.token; opts.Token == "" {
				opts.Token = os.Getenv("CAIRN_TOKEN")
			}
			r, err := doctor.Examine(cmd.Context(), url, opts)
			if err != nil {
				return err
			}
			if err := showReport(cmd.OutOrStdout(), r, t.json); err != nil {
				return err
			}
			if !r.Good {
				return errReported
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&url, "url", "", "URL that clients use")
	f.StringVar(&opts.Bucket, "bucket", "demo", "bucket to try uploads in")
	f.StringVar(&opts.Origin, "origin", "", "origin of pages that are to use the server, such as https://app.example.com")
	f.DurationVar(&opts.Slow, "slow", 65*time.Second, "how long to send a slow body")
	return cmd
}

func showReport(w io.Writer, r *doctor.Report, asJSON bool) error {
	if asJSON {
		return writeJSON(w, r, false)
	}
	t := newTableWriter(w)
	t.beginTable(column{keep: true}, column{keep: true}, column{})
	for _, c := range r.Checks {
		t.row(c.Status, c.Name, c.Detail)
		for _, by := range [][2]string{{"nginx", c.Nginx}, {"Caddy", c.Caddy}} {
			if by[1] != "" {
				t.row("", "", by[0]+": "+strings.ReplaceAll(by[1], "\n", " "))
			}
		}
	}
	if r.Good {
		t.line("%s: nothing is wrong", r.URL)
		return t.finish()
	}
	if err := t.finish(); err != nil {
		return err
	}
	return writeText(w, fmt.Sprintf("\nSettings for nginx that pass all of this:\n\n%s\nand for Caddy:\n\n%s", doctor.Nginx(), doctor.Caddy()))
}
