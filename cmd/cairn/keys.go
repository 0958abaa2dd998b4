package main

import (
	"context"
	"strings"
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
		Example: `  cairn keys create --name backup --bucket demo --op read,download --expires 720h
  cairn keys create --operator`,
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
		Example: `  cairn keys ls`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				keys, err := fl.Keys(ctx)
				if err != nil {
					return err
				}
				w := newTableWriter(cmd.OutOrStdout())
				w.beginTable(column{keep: true}, column{}, column{}, column{})
				for i := range keys {
					k := &keys[i]
					if t.json {
						if err := writeJSON(cmd.OutOrStdout(), k, false); err != nil {
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
					if w.wide > 0 {
						w.row(k.ID, clipMiddle(k.Name, 20), until, scope)
					} else {
						w.row(k.ID, scope, until, k.Name)
					}
				}
				return w.finish()
			})
		},
	}
}

func newKeysRm(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "rm ID...", Short: "End API keys", Args: wantArgs(cobra.MinimumNArgs(1)),
		Example: `  cairn keys rm 06h2k65k27s029v4`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				return t.eachArg(ctx, "keys rm", args, func(id string) error {
					if err := fl.DropKey(ctx, id); err != nil || !t.json {
						return err
					}
					return t.showValue(cmd, map[string]any{"id": id, "removed": true}, "")
				})
			})
		},
	}
}

func newKeysRotate(t *target) *cobra.Command {
	var drop bool
	cmd := &cobra.Command{
		Use: "rotate-signing", Short: "Sign URLs with a new key from now on", Args: wantArgs(cobra.NoArgs),
		Example: `  cairn keys rotate-signing
  cairn keys rotate-signing --drop-old`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				id, err := fl.RotateSigningKey(ctx, drop)
				if err == nil {
					err = t.showValue(cmd, map[string]string{"key": id}, "%s\n", id)
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&drop, "drop-old", false, "forget the older keys: every URL signed until now ends")
	return cmd
}
