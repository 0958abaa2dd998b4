//go:build !linux && !darwin

package api

import "net"

func boundSendQueue(net.Conn) {}
