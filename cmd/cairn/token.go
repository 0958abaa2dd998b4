package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-store/cairn/api/auth"
)

func newToken(t *target) *cobra.Command {
	var claims []string
	var life time.Duration
	cmd := &cobra.Command{
		Use: "token --config alyx.yml [flags] SUBJECT", Short: "Make a token with auth.jwt.secret, to try things out", Args: wantArgs(cobra.ExactArgs(1)),
		Example: `  cairn token --config alyx.yml ann
  cairn token --config alyx.yml --claim role=admin --expires 10m root`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := t.readSettings()
			if err != nil {
				return err
			}
			if s.config == nil {
				return usageError{errors.New("token: want --config with auth.jwt.secret")}
			}
			more := make(map[string]any)
			for _, c := range claims {
				name, value, ok := strings.Cut(c, "=")
				if !ok {
					return usageError{fmt.Errorf("--claim %q: want NAME=VALUE", c)}
				}
				more[name] = value
			}
			token, err := auth.Issue(s.config.Auth.JWT, args[0], more, life)
			if err != nil {
				return err
			}
			return t.showValue(cmd, map[string]string{"token": token}, "%s\n", token)
		},
	}
	cmd.Flags().StringSliceVar(&claims, "claim", nil, "claims besides sub, such as role=editor")
	cmd.Flags().DurationVar(&life, "expires", time.Hour, "how long the token is valid")
	return cmd
}
