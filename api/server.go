// Package api serves the buckets of a store over HTTP. Every handler gets its
// bucket from Server.bucketFor, which narrows it to the rights of the sender.
// Only errors.go maps errors to answers.
//
// Start at Server.routes, the table of all paths. There is a file for each
// noun.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"
	"github.com/klauspost/compress/zstd"
	"github.com/rs/cors"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/buckets/upload"
)

// Options are choices of New; nil and zero values mean the defaults.
type Options struct {
	// Dev serves everybody who reaches the address as an operator. Only
	// requests with a loopback Host header and of the same origin are
	// answered, so that web pages cannot use this.
	Dev bool
	// Auth says who sends a request. Without it all are anonymous.
	Auth Authenticator
	// CrossOrigin refuses requests that change something, by somebody who is known,
	// where a page of another origin may have had a browser send them with a cookie,
	// or other credentials that browsers add unasked. nil is one that trusts the
	// server's own origin and that of Server.PublicURL. Origins of Server.CORS, but
	// for "*", are trusted too.
	CrossOrigin *http.CrossOriginProtection
	// Transformer makes the images of …/preview. Without it those are answered 501.
	Transformer Transformer
	// Prefix is the path below which the program's router serves this server, such
	// as "/storage". It may be left out where the router takes it off the paths of
	// requests, as http.StripPrefix does, and where the server has a host to itself.
	// URLs in answers begin with it. Server.PublicURL replaces their scheme and host
	// and, where it has a path itself, be it "/", that too: a proxy may have another
	// one.
	Prefix string
	// Server configures proxies, origins and limits. Its TrustedProxies count for
	// every Authenticator.
	Server schema.Server
	Log    *slog.Logger // nil discards

	// IdleTimeout is the time within which a request's body must bring MinBytes,
	// and a client take 16 KiB of an answer; 60 seconds by default. MinBytes is
	// 16 KiB by default.
	IdleTimeout time.Duration
	MinBytes    int64
	// ShutdownTimeout is how long Serve waits for requests under way before
	// it cuts them off; 30 seconds by default.
	ShutdownTimeout time.Duration
}

// A Server answers requests about a store. It is an http.Handler.
type Server struct {
	store    *buckets.Store
	uploads  *upload.Uploads
	opts     Options
	log      *slog.Logger
	handler  http.Handler
	mounting mounting
	proxies  proxies
	pages    *cors.Cors // that may use the API with a browser's credentials, nil for none
	limits   *limiter

	crossOrigin *http.CrossOriginProtection
	lingers     lingerSlots
	sessions    *sessionLog
	zstd        *zstd.Decoder // of chunks that come compressed
	draining    atomic.Bool
	underWay    atomic.Int64 // requests
	cut         atomic.Int64 // requests that Serve has not waited for
	wrappedTold sync.Once    // see noticeWrapped
}

// maxHeader is how many bytes the headers of a request may have. Beyond some KiB
// more they are not read: net/http answers with a bare 431.
const maxHeader = 64 << 10

// How long a connection may wait, between requests and for the headers of one.
const (
	maxIdle       = 2 * time.Minute
	maxHeaderTime = 30 * time.Second
)

// New returns a server of store.
func New(store *buckets.Store, opts *Options) *Server {
	s := &Server{store: store, uploads: upload.New(), zstd: newZstd(), lingers: make(lingerSlots, maxLingers)}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.IdleTimeout == 0 {
		s.opts.IdleTimeout = time.Minute
	}
	if s.opts.MinBytes == 0 {
		s.opts.MinBytes = 16 << 10
	}
	if s.opts.ShutdownTimeout == 0 {
		s.opts.ShutdownTimeout = 30 * time.Second
	}
	s.log = slog.New(slog.DiscardHandler)
	if s.opts.Log != nil {
		s.log = slog.New(hideSecrets(s.opts.Log.Handler()))
	}
	s.sessions = newSessionLog(s.log, s.uploadExpiry)
	var err error
	if s.mounting, err = newMounting(s.opts.Prefix, s.opts.Server.PublicURL); err != nil {
		s.log.Error("server.public_url is passed over", "error", err)
	}
	if s.proxies, err = parseProxies(s.opts.Server.TrustedProxies); err != nil {
		s.log.Error("some of server.trusted_proxies are passed over", "error", err)
	}
	if s.crossOrigin = s.opts.CrossOrigin; s.crossOrigin == nil {
		s.crossOrigin = newCrossOrigin(s.mounting)
	}
	s.limits = newLimiter(&s.opts.Server)
	s.handler = s.surround(s.withCORS(s.newRouter()))
	return s
}

// Cut is how many requests Serve has cut off when it ended.
func (s *Server) Cut() int64 { return s.cut.Load() }

// FlushLog writes the lines of the sessions that are open, which log their requests
// together. Serve does so when it ends; programs that serve by other means call it
// when they do.
func (s *Server) FlushLog() { s.sessions.endAll() }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// A handler answers a request, or returns an error for errors.go to answer.
type handler func(w http.ResponseWriter, r *http.Request) error

// methods are the handlers of a path.
type methods map[string]handler

const (
	bucketRoute    = "/api/files/{bucket:[^/_][^/]*}"
	fileRoute      = bucketRoute + "/{id:[^/_][^/]*}"
	tusRoute       = "/api/tus/{bucket:[^/_][^/]*}"
	bucketTusRoute = bucketRoute + "/tus"
	uploadRoute    = "/api/uploads/{bucket:[^/_][^/]*}/{upload}"
)

// A route is a path and the handlers of its methods.
type route struct {
	path    string
	methods methods
}

func (s *Server) routes() []route {
	const bucket, file = bucketRoute, fileRoute
	const version = file + "/versions/{n}"
	limits := s.overProtocol("rufh", s.ofUploads(s.newRUFH().Options))
	all := methods{"GET": s.inBucket(listFiles), "POST": takeContent(true, s.orRUFH(createFile)), "OPTIONS": limits}
	return slices.Concat(s.alyxRoutes(), s.resumableRoutes(), s.sessionRoutes(), s.storageRoutes(), s.hostRoutes(), []route{
		{"/healthz", methods{"GET": serveHealth}},
		{"/readyz", methods{"GET": s.serveReady}},
		{"/api/openapi.json", methods{"GET": serveOpenAPI}},

		{bucket, all},
		{bucket + "/", all},
		{bucket + "/_capabilities", methods{"GET": s.inBucket(bucketCapabilities)}},
		{bucket + "/_at/{path:.*}", methods{"GET": s.inBucket(serveAtPath)}},
		{bucket + "/_usage", methods{"GET": s.inBucket(bucketUsage)}},
		{bucket + "/_compose", methods{"POST": s.inBucket(s.composeFile)}},
		{bucket + "/_sign-upload", methods{"POST": s.inBucket(s.signUpload)}},
		{bucket + "/_grants", methods{"GET": s.inBucket(listGrants)}},
		{bucket + "/_grants/{grant}", methods{"GET": s.inBucket(statGrant), "DELETE": s.inBucket(revokeGrant)}},

		{file, methods{"GET": s.inBucket(statFile), "PUT": takeContent(true, s.orRUFH(replaceFile)), "PATCH": s.inBucket(updateFile), "DELETE": s.inBucket(deleteFile), "OPTIONS": limits}},
		{file + "/download", methods{"GET": s.inBucket(downloadFile)}},
		{file + "/view", methods{"GET": s.inBucket(viewFile)}},
		{file + "/content", methods{"PATCH": takeContent(true, s.inBucket(overwriteRange))}},
		{file + "/append", methods{"POST": takeContent(true, s.inBucket(appendToFile))}},
		{file + "/truncate", methods{"POST": s.inBucket(truncateFile)}},
		{file + "/restore", methods{"POST": s.inBucket(undeleteFile)}},
		{file + "/copy", methods{"POST": s.inBucket(s.copyFile)}},
		{file + "/sign", methods{"GET": s.inBucket(s.signByQuery), "POST": s.inBucket(s.signByBody)}},
		{file + "/manifest", methods{"GET": s.inBucket(listChunks)}},
		{file + "/chunks/{digest}", methods{"GET": s.inBucket(downloadChunk)}},
		{file + "/references", methods{"GET": s.inBucket(listReferences)}},
		{file + "/preview", methods{"GET": s.inBucket(s.previewFile)}},

		{file + "/versions", methods{"GET": s.inBucket(listVersions)}},
		{version, methods{"GET": s.inBucket(statFile), "DELETE": s.inBucket(removeVersion)}},
		{version + "/download", methods{"GET": s.inBucket(downloadFile)}},
		{version + "/view", methods{"GET": s.inBucket(viewFile)}},
		{version + "/restore", methods{"POST": s.inBucket(restoreVersion)}},
		{version + "/diff", methods{"GET": s.inBucket(diffVersions)}},

		{"/api/admin/explain", methods{"POST": s.onlyOperators(s.explainAccess)}},
		{"/api/admin/keys", methods{"GET": s.onlyOperators(s.listKeys), "POST": s.onlyOperators(s.newKey)}},
		{"/api/admin/keys/{key}", methods{"DELETE": s.onlyOperators(s.dropKey)}},
		{"/api/admin/migrate", methods{"POST": s.onlyOperators(s.migrateBucket)}},
		{"/api/admin/signing-keys", methods{"POST": s.onlyOperators(s.rotateSigningKey)}},
	})
}

func (s *Server) newRouter() http.Handler {
	m := mux.NewRouter().UseEncodedPath().SkipClean(true)
	for _, r := range s.routes() {
		m.Handle(r.path, s.answerRoute(&r))
	}
	m.NotFoundHandler = s.handlerOf(func(http.ResponseWriter, *http.Request) error { return errNoRoute })
	return routeByOnePath(m)
}

// bucketFor returns a bucket narrowed to the rights of the sender of r.
// Handlers must get buckets in no other way.
func (s *Server) bucketFor(r *http.Request, name string) (*buckets.Bucket, error) {
	b, err := s.store.Bucket(name)
	if err != nil {
		return nil, err
	}
	return b.As(principalOf(r)), nil
}

// A bucketHandler answers a request about the bucket that its path names.
type bucketHandler func(w http.ResponseWriter, r *http.Request, b *buckets.Bucket) error

// inBucket calls h with the bucket that the path names.
func (s *Server) inBucket(h bucketHandler) handler {
	return s.withIdentity(func(w http.ResponseWriter, r *http.Request) error {
		b, err := s.bucketFor(r, mux.Vars(r)["bucket"])
		if err != nil {
			return err
		}
		return h(w, r, b)
	})
}

func serveHealth(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// serveReady answers whether the server takes uploads.
func (s *Server) serveReady(w http.ResponseWriter, r *http.Request) error {
	if s.draining.Load() {
		return errDraining
	}
	if err := s.store.Ready(r.Context()); err != nil {
		return err
	}
	ready := map[string]string{"status": "ready"}
	if s.store.ClockError() != nil {
		ready["warning"] = "clock-jumped" // what has expired is not removed until the clock is trusted
	}
	return writeJSON(w, http.StatusOK, ready)
}

// Serve answers connections of ln until ctx is done. It then takes no more,
// waits for requests under way, and returns nil. It speaks HTTP/1, and bounds
// connections as Options.Server says.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer s.FlushLog()
	conns := s.newConnections()
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: maxHeaderTime,
		IdleTimeout:       maxIdle,
		WriteTimeout:      s.opts.IdleTimeout, // of net/http's own answers: a recorder extends it
		MaxHeaderBytes:    maxHeader,
		ConnContext:       conns.admit,
		ConnState:         conns.followState,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	s.draining.Store(true)
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.ShutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(wait); err != nil {
		s.cut.Store(s.underWay.Load())
		s.log.Warn("requests under way were cut off", "requests", s.cut.Load(), "after", s.opts.ShutdownTimeout)
		srv.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
