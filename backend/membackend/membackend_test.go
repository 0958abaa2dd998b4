package membackend_test

import (
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/backendtest"
	"github.com/cairn-store/cairn/backend/membackend"
)

func TestBackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend { return membackend.New(nil) })
}

func TestWholeOnly(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		return membackend.New(&membackend.Options{WholeOnly: true})
	})
}
