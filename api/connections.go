package api

import (
	"container/list"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// What Serve bounds connections by, unless the configuration says otherwise.
const (
	DefaultConnections           = 4096
	DefaultConnectionsPerAddress = 512
)

// sendQueue is how many bytes that were not sent yet the kernel takes of an answer.
const sendQueue = 128 << 10

// connections bounds the connections of a Server: in all, and those of one
// address. A connection waits while no request of it is being answered: it is
// idle, or its headers are not complete. Where a bound is reached, the one that
// has waited longest is dropped for a new one. So connections that send nothing
// keep nobody out, and a request is never cut off for another.
type connections struct {
	most, perAddress int
	isProxy          func(netip.Addr) bool // whose connections are those of many
	log              *slog.Logger

	// mu guards what follows, and place and dropped of each connection.
	mu        sync.Mutex
	open      map[net.Conn]*connection
	byAddress map[string]int
	waiting   list.List // of connections, the one that has waited longest first
	told      time.Time // when a refusal was logged last
}

// A connection counts from its beginning until it is closed or dropped.
type connection struct {
	all     *connections
	conn    net.Conn
	address string        // "" for a trusted proxy, whose connections are never dropped
	place   *list.Element // in waiting, nil while a request is answered
	dropped bool
}

type connectionKey struct{}

// newConnections returns the bounds of the server's connections.
func (s *Server) newConnections() *connections {
	cs := &connections{most: s.opts.Server.MaxConnections, perAddress: s.opts.Server.MaxPerAddress, log: s.log,
		isProxy: s.proxies.trusts, open: make(map[net.Conn]*connection), byAddress: make(map[string]int)}
	if cs.most == 0 {
		cs.most = DefaultConnections
	}
	if cs.perAddress == 0 {
		cs.perAddress = DefaultConnectionsPerAddress
	}
	return cs
}

// admit counts a new connection, and drops another or refuses the new one where
// a bound is reached. It is the ConnContext of an http.Server.
func (cs *connections) admit(ctx context.Context, conn net.Conn) context.Context {
	boundSendQueue(conn)
	c := &connection{all: cs, conn: conn}
	if a, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil && !cs.isProxy(a.Addr().Unmap()) {
		c.address = networkOf(a.Addr().Unmap())
	}
	cs.mu.Lock()
	instead, ok := cs.makeRoom(c.address)
	if ok {
		cs.addConnection(c)
	}
	tell := !ok && time.Since(cs.told) > time.Minute
	if tell {
		cs.told = time.Now()
	}
	open := len(cs.open)
	cs.mu.Unlock()
	switch {
	case instead != nil:
		instead.Close() // its goroutine ends with the error of a read
	case !ok:
		if tell {
			cs.log.Warn("connection refused, all others have requests under way", "address", c.address, "open", open)
		}
		refuseConnection(conn)
	}
	return context.WithValue(ctx, connectionKey{}, c)
}

// makeRoom makes room for a connection from an address, if need be by taking
// another out, which the caller must close. The caller holds mu.
func (cs *connections) makeRoom(address string) (instead net.Conn, ok bool) {
	full := len(cs.open) >= cs.most
	crowded := address != "" && cs.byAddress[address] >= cs.perAddress
	if !full && !crowded {
		return nil, true
	}
	for e := cs.waiting.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*connection); !crowded || c.address == address {
			c.dropped = true
			cs.removeConnection(c)
			return c.conn, true
		}
	}
	return nil, false
}

// addConnection counts c, as one that waits. The caller holds mu.
func (cs *connections) addConnection(c *connection) {
	cs.open[c.conn] = c
	if c.address != "" {
		cs.byAddress[c.address]++
		c.place = cs.waiting.PushBack(c)
	}
}

// removeConnection counts c no longer. The caller holds mu.
func (cs *connections) removeConnection(c *connection) {
	delete(cs.open, c.conn)
	if c.address == "" {
		return
	}
	if cs.byAddress[c.address]--; cs.byAddress[c.address] == 0 {
		delete(cs.byAddress, c.address)
	}
	if c.place != nil {
		cs.waiting.Remove(c.place)
		c.place = nil
	}
}

// followState takes a connection out that has ended. It is the ConnState of an
// http.Server.
func (cs *connections) followState(conn net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := cs.open[conn]; c != nil {
		cs.removeConnection(c)
	}
}

// refuseConnection answers a connection without waiting for its request. The
// answer may be lost with what the client is sending.
func refuseConnection(conn net.Conn) {
	conn.SetDeadline(time.Now().Add(time.Second))
	io.WriteString(conn, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	conn.Close()
}

// beginAnswer notes that a request of r's connection is being answered, until
// the caller calls end. It reports false if the connection was dropped: its
// client cannot learn what became of the request.
func beginAnswer(r *http.Request) (end func(), ok bool) {
	c, _ := r.Context().Value(connectionKey{}).(*connection)
	if c == nil || c.address == "" {
		return func() {}, true
	}
	c.setWaiting(false)
	return func() { c.setWaiting(true) }, !c.isDropped()
}

func (c *connection) setWaiting(waits bool) {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	if c.place != nil {
		c.all.waiting.Remove(c.place)
		c.place = nil
	}
	if waits && c.all.open[c.conn] == c {
		c.place = c.all.waiting.PushBack(c)
	}
}

func (c *connection) isDropped() bool {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	return c.dropped
}
