package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/client"
)

func newLinks(t *target) *cobra.Command {
	return newGroup("links", "Show the hosts whose records hold files, and forget one", "ls, show or forget", newLinksLs(t), newLinksShow(t), newLinksForget(t))
}

func newLinksLs(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the hosts", Args: wantArgs(cobra.NoArgs),
		Example: `  cairn links ls`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				hosts, err := fl.Hosts(ctx)
				if err != nil {
					return err
				}
				w := newTableWriter(cmd.OutOrStdout())
				w.beginTable(column{keep: true}, column{}, column{keep: true}, column{})
				for i := range hosts {
					h := &hosts[i]
					if t.json {
						if err := writeJSON(cmd.OutOrStdout(), h, false); err != nil {
							return err
						}
						continue
					}
					w.row(h.Name, fmt.Sprint("session ", h.Session), describeState(h), strings.Join(h.Buckets, ", "))
				}
				return w.finish()
			})
		},
	}
}

// describeState says how a host stands.
func describeState(h *client.Host) string {
	switch {
	case h.Unreconciled:
		return "not reconciled: nothing is removed for good"
	case len(h.Live) == 0:
		return "no session"
	}
	return "reconciled"
}

func newLinksShow(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "show HOST", Short: "Show a host: its sessions, its fields, how many links it has", Args: wantArgs(cobra.ExactArgs(1)),
		Example: `  cairn links show blog`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				h, err := fl.Host(ctx, args[0], true)
				if err != nil {
					return err
				}
				if t.json {
					return t.showValue(cmd, h, "")
				}
				var live []string
				for _, n := range h.Live {
					live = append(live, strconv.FormatUint(n, 10))
				}
				w := newTableWriter(cmd.OutOrStdout())
				w.beginTable(column{keep: true}, column{})
				w.row("host", h.Name)
				w.row("state", describeState(h))
				w.row("database", h.Database)
				w.row("sessions", fmt.Sprintf("%d, live: %s", h.Session, strings.Join(live, ", ")))
				w.row("buckets", strings.Join(h.Buckets, ", "))
				w.row("links", fmt.Sprintf("%d confirmed, %d pending", *h.Confirmed, *h.Pending))
				for i := range h.Fields {
					f := &h.Fields[i]
					w.row(f.Collection+"."+f.Name, fmt.Sprintf("%s of %s, pin: %s, on_delete: %s", f.Type, f.Bucket, f.Pin, f.OnDelete))
				}
				return w.finish()
			})
		},
	}
}

func newLinksForget(t *target) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "forget --yes HOST", Short: "Forget a host that is gone for good, with its links", Args: wantArgs(cobra.ExactArgs(1)),
		Example: `  cairn links forget --yes blog`,
		Long: `Forget a host that is gone for good, and end its links, without their policies:
no file is deleted by that. What the links held is held on as long as the trash
keeps files, and then goes its ways. If the host comes back, it has to be
reconciled, which makes its links again.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				if !yes {
					h, err := fl.Host(ctx, args[0], true)
					if err != nil {
						return err
					}
					return usageError{fmt.Errorf("host %s has %d links that hold files, and %d pending ones: give --yes to end them", h.Name, *h.Confirmed, *h.Pending)}
				}
				var ended int64
				for {
					done, err := fl.ForgetHost(ctx, args[0])
					if err != nil {
						return err
					}
					if ended += done.Links; done.Done {
						return t.showValue(cmd, client.Forgotten{Links: ended, Done: true}, "forgot %s, ended %d links\n", args[0], ended)
					}
				}
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "the host is gone for good")
	return cmd
}

const referencePage = 1000

func newRefs(t *target) *cobra.Command {
	return &cobra.Command{
		Use: "refs BUCKET/ID", Short: "List the records that hold a file or a version", Args: wantArgs(cobra.ExactArgs(1)),
		Example: `  cairn refs demo/photo.jpg`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withFiles(cmd, func(ctx context.Context, fl *files) error {
				bucket, id, err := resolveRef(ctx, fl, args[0])
				if err != nil {
					return err
				}
				w := newTableWriter(cmd.OutOrStdout())
				if w.wide > 0 {
					w.beginTable(column{keep: true}, column{}, column{}, column{})
				} else {
					w.beginTable(column{}, column{}, column{}, column{}, column{})
				}
				for cursor := ""; ; {
					page, err := fl.References(ctx, bucket, id, cursor, referencePage)
					if err != nil {
						return err
					}
					for i := range page.References {
						if err := t.showReference(cmd, w, &page.References[i]); err != nil {
							return err
						}
					}
					if page.NextCursor == nil {
						return w.finish()
					}
					cursor = *page.NextCursor
				}
			})
		},
	}
}

func (t *target) showReference(cmd *cobra.Command, w *tableWriter, r *client.Reference) error {
	if t.json {
		return writeJSON(cmd.OutOrStdout(), r, false)
	}
	held := r.ManifestID
	if held == "" {
		held = "follows the file"
	}
	record, policy, at := r.Collection+"/"+r.Record+"."+r.Field, "on_delete: "+r.OnDelete, r.State+" "+r.At.Format(time.DateTime)
	if w.wide > 0 {
		if r.ManifestID != "" {
			held = shortID(held)
		}
		w.row(r.Host, policy, at, held+"  "+record)
	} else {
		w.row(r.Host, record, policy, at, held)
	}
	return w.err
}
