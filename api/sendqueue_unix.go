//go:build linux || darwin

package api

import (
	"net"

	"golang.org/x/sys/unix"
)

// boundSendQueue has the kernel take a write when less than half of sendQueue is
// unsent. By itself it takes megabytes for a slow client, and takes more only when a
// third of them has gone: so long a client that reads would seem to stand still.
func boundSendQueue(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return // it is closed
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, sendQueue) // old kernels go without
	})
}
