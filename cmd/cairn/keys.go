package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
)

func newKeys(t *target) *cobra.Command {
	return newGroup("keys", "Make, list and end API keys; rotate the keys of signed URLs", "create, ls, rm or rotate-signing",
		newKeysCreate(t), newKeysLs(t), newKeysRm(t), newKeysRotate(t))
}

func newKeysCreate(t *target) *cobra.Command {
	opts := &client.KeyOptions{}
	var expires time.Duration
	cmd := &cobra.Command{
		Use: "create [flags]", Short: "Make an API key and print its token, this once", Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if expires > 0 {
				opts.ExpiresIn = expires.String()
			}
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				k, err := fl.NewKey(ctx, opts)
				if err != nil {
					return err
				}
				return t.showValue(cmd, k, "%s\n", k.Token)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.Name, "name", "", "what it is for")
	f.StringSliceVar(&opts.Buckets, "bucket", nil, "buckets it is for; * is all")
	f.StringSliceVar(&opts.Operations, "op", nil, "operations it is for: create, read, update, delete, download, list, trash")
	f.BoolVar(&opts.Operator, "operator", false, "it may do everything")
	f.DurationVar(&expires, "expires", 0, "how long it is valid, such as 720h (default: until it is removed)")
	return cmd
}

func newKeysLs(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List API keys", Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				keys, err := fl.Keys(ctx)
				if err != nil {
					return err
				}
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				for i := range keys {
					k := &keys[i]
					if t.json {
						if err := json.NewEncoder(cmd.OutOrStdout()).Encode(k); err != nil {
							return err
						}
						continue
					}
					scope := strings.Join(k.Operations, ",") + " in " + strings.Join(k.Buckets, ",")
					if k.Operator {
						scope = "operator"
					}
					until := "until removed"
					if k.ExpiresAt != nil {
						until = "until " + k.ExpiresAt.Format(time.DateTime)
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.ID, scope, until, k.Name)
				}
				return w.Flush()
			})
		},
	}
}

func newKeysRm(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "rm ID...", Short: "End API keys", Args: wantArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				for _, id := range args {
					if err := fl.DropKey(ctx, id); err != nil {
						return fmt.Errorf("key %s: %w", id, err)
					}
				}
				return nil
			})
		},
	}
}

func newKeysRotate(t *target) *cobra.Command {
	var drop bool
	cmd := &cobra.Command{
		Use: "rotate-signing", Short: "Sign URLs with a new key from now on", Args: wantArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				id, err := fl.RotateSigningKey(ctx, drop)
				if err == nil {
					_, err = fmt.Fprintln(cmd.OutOrStdout(), id)
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&drop, "drop-old", false, "forget the older keys: every URL signed until now ends")
	return cmd
}
