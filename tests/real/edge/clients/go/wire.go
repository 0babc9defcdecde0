package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// RFC 9113, section 6.
const (
	frameData   = 0
	framePing   = 6
	frameGoAway = 7
	flagAck     = 1
	headBytes   = 9
	preface     = 24
)

// wire counts what goes over the connections of one client: it stands below the client and changes nothing.
type wire struct {
	dials, pings, answers atomic.Int64
	mutex                 sync.Mutex
	goAways               []string
}

func (w *wire) seen() map[string]any {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return map[string]any{
		"connections": w.dials.Load(), "pings": w.pings.Load(), "answers": w.answers.Load(), "goaways": w.goAways,
	}
}

func (w *wire) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	w.dials.Add(1)
	out := frames{skip: preface, each: func(kind, flags byte, _ []byte) {
		if kind == framePing && flags&flagAck == 0 {
			w.pings.Add(1)
		}
	}}
	in := frames{each: func(kind, _ byte, payload []byte) {
		switch kind {
		case frameData:
			w.answers.Add(1)
		case frameGoAway:
			w.mutex.Lock()
			defer w.mutex.Unlock()
			w.goAways = append(w.goAways, fmt.Sprintf("code %d %q", binary.BigEndian.Uint32(payload[4:8]), payload[8:]))
		}
	}}
	return &counted{Conn: conn, in: in, out: out}, nil
}

type counted struct {
	net.Conn
	in, out frames
}

func (c *counted) Read(bytes []byte) (int, error) {
	read, err := c.Conn.Read(bytes)
	c.in.take(bytes[:read])
	return read, err
}

func (c *counted) Write(bytes []byte) (int, error) {
	wrote, err := c.Conn.Write(bytes)
	c.out.take(bytes[:wrote])
	return wrote, err
}

// frames cuts one direction of a connection into frames, however its bytes come.
type frames struct {
	skip    int
	head    []byte
	payload []byte
	each    func(kind, flags byte, payload []byte)
}

func (f *frames) take(bytes []byte) {
	for len(bytes) > 0 {
		if skipped := min(f.skip, len(bytes)); skipped > 0 {
			if len(f.head) == headBytes && f.head[3] == frameGoAway {
				f.payload = append(f.payload, bytes[:skipped]...)
			}
			f.skip -= skipped
			bytes = bytes[skipped:]
		} else {
			taken := min(headBytes-len(f.head), len(bytes))
			f.head = append(f.head, bytes[:taken]...)
			bytes = bytes[taken:]
			if len(f.head) == headBytes {
				f.skip = int(f.head[0])<<16 | int(f.head[1])<<8 | int(f.head[2])
			}
		}
		if f.skip == 0 && len(f.head) == headBytes {
			f.each(f.head[3], f.head[4], f.payload)
			f.head, f.payload = f.head[:0], f.payload[:0]
		}
	}
}
