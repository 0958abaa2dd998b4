package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
)

func newSign(t *target) *cobra.Command {
	opts := &client.SignOptions{}
	cmd := &cobra.Command{
		Use: "sign --server URL [flags] BUCKET/ID", Short: "Make a URL that opens a file without a token", Args: wantArgs(cobra.ExactArgs(1)),
		Long: `Make a URL with which anybody may download a file, view it in a browser, or upload a
new version of it, until it expires. A server answers such URLs, so one has to sign them.`,
		Example: `  cairn sign --server https://files.example.com demo/report.pdf
  cairn sign --server https://files.example.com --operation view --expires 7d demo/photo.jpg
  cairn sign --server https://files.example.com --operation upload --max-uses 1 demo/report.pdf`,
		ValidArgsFunction: t.completeRef,
		RunE: func(cmd *cobra.Command, args []string) error {
			if t.server == "" {
				return usageError{errors.New("sign: only a server can answer the URL: give --server")}
			}
			switch opts.Operation {
			case "download", "view", "upload":
			default:
				return usageError{fmt.Errorf("--operation %q: want download, view or upload", opts.Operation)}
			}
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				bucket, id, err := resolveRef(ctx, fl, args[0])
				if err != nil {
					return err
				}
				u, err := fl.Sign(ctx, bucket, id, opts)
				if err != nil {
					return err
				}
				if columnsOf(cmd.OutOrStdout()) > 0 && !t.json {
					printf(t.stderr, "%s with %s until %s:\n", u.Operation, u.Method, u.ExpiresAt.Local().Format(time.DateTime))
				}
				return t.showValue(cmd, u, "%s\n", u.URL)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.Operation, "operation", "download", "what the URL is for: download, view or upload")
	f.StringVar(&opts.ExpiresIn, "expires", "", "how long it is valid, such as 15m or 7d (default: what the bucket says)")
	f.Uint64Var(&opts.Version, "version", 0, "number of the version that it is bound to (default: the current one at any time)")
	f.Int64Var(&opts.MaxUses, "max-uses", 0, "how often it may be used (default: any number)")
	f.StringVar(&opts.IP, "ip", "", "address or network that it may be used from")
	return cmd
}
