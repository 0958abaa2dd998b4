package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// healthTimeout is how long a server may take to say how it is.
const healthTimeout = 5 * time.Second

// A health is what a server says of itself.
type health struct {
	URL    string `json:"url"`
	OK     bool   `json:"ok"`
	Status int    `json:"status"`
}

func newHealth(t *target) *cobra.Command {
	var ready bool
	cmd := &cobra.Command{
		Use: "health [--ready]", Short: "Ask a server whether it is alive", Args: wantArgs(cobra.NoArgs),
		Example: `  cairn health
  cairn health --ready --server https://files.example.com`,
		Long: `Ask a server whether it is alive, or with --ready whether it takes changes too. The exit status is 1 if not. Without --server it
is the one on this machine that listens on CAIRN_ADDR. Containers use it, which have no other program to ask with.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			url := strings.TrimSuffix(cmp.Or(t.server, localURL(os.Getenv("CAIRN_ADDR"))), "/") + "/healthz"
			if ready {
				url = strings.TrimSuffix(url, "/healthz") + "/readyz"
			}
			h, err := askHealth(cmd.Context(), url)
			if err != nil {
				return fmt.Errorf("health: %w", err)
			}
			text := "%s: good\n"
			if !h.OK {
				text = "%s: not good (%d)\n"
				return cmp.Or(t.showValue(cmd, h, text, h.URL, h.Status), errReported)
			}
			return t.showValue(cmd, h, text, h.URL)
		},
	}
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether the server takes changes")
	return cmd
}

// localURL is the URL of this machine's server that listens on addr.
func localURL(addr string) string {
	host, port, err := net.SplitHostPort(cmp.Or(addr, defaultAddr))
	if err != nil {
		return "http://" + defaultAddr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

func askHealth(ctx context.Context, url string) (*health, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	return &health{URL: url, OK: resp.StatusCode == http.StatusOK, Status: resp.StatusCode}, err
}
