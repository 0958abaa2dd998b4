package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/buckets/local"
)

func newServe(t *target) *cobra.Command {
	var addr string
	var dev bool
	cmd := &cobra.Command{
		Use: "serve --dev [flags]", Short: "Serve the store over HTTP", Args: wants(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !dev {
				return usageError{errors.New("serve needs --dev: there are no access rules, so it serves this machine only")}
			}
			ln, err := listenLoopback(addr)
			if err != nil {
				return err
			}
			return t.serve(cmd, ln)
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:8090", "loopback address to listen on")
	cmd.Flags().BoolVar(&dev, "dev", false, "serve whoever is on this machine, as an operator")
	return cmd
}

// listenLoopback listens where only this machine can reach.
func listenLoopback(addr string) (net.Listener, error) {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, usageError{fmt.Errorf("--addr %q: %w", addr, err)}
	}
	if !a.IP.IsLoopback() {
		return nil, usageError{fmt.Errorf("--addr %q is not a loopback address: use 127.0.0.1:PORT", addr)}
	}
	return net.ListenTCP("tcp", a)
}

func (t *target) serve(cmd *cobra.Command, ln net.Listener) error {
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	s, err := local.Open(cmd.Context(), t.data, &local.Options{Log: log})
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	url := "http://" + ln.Addr().String()
	fmt.Fprintf(cmd.OutOrStdout(), `cairn: listening on %s

Try, in another terminal:
  curl -F file=@README.md %s/api/files/demo
  curl %s/api/files/demo
`, url, url, url)
	err = api.New(s, &api.Options{Dev: true, Log: log}).Serve(cmd.Context(), ln)
	return errors.Join(err, s.Close())
}
