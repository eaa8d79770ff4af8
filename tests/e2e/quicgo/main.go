// A client of another QUIC stack: handshake with ALPN "macula", CONNECT, PONG, and a base-only subscription that hears its own publish.
// Usage: quicgo HOST:PORT. Exit 0 when PONG and the message came.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"reflect"
	"time"

	"github.com/lucas-clemente/quic-go"
)

func bin(s string) []byte { return append([]byte{0xc4, byte(len(s))}, s...) }

func frame(kind byte, payload []byte) []byte {
	h := []byte{1, kind, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(h[4:], uint32(len(payload)))
	return append(h, payload...)
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func read(s quic.Stream) (byte, []byte, error) {
	h := make([]byte, 8)
	if _, err := io.ReadFull(s, h); err != nil {
		return 0, nil, err
	}
	p := make([]byte, binary.BigEndian.Uint32(h[4:]))
	_, err := io.ReadFull(s, p)
	return h[1], p, err
}

func fail(what string, err error) {
	fmt.Println("FAIL quic-go:", what, err)
	os.Exit(1)
}

// DialAddr takes a context in Debian 13's quic-go 0.50, and none in Debian 12's 0.29.
func dial(args ...any) (quic.Connection, error) {
	f := reflect.ValueOf(quic.DialAddr)
	var in []reflect.Value
	for _, a := range args[len(args)-f.Type().NumIn():] {
		in = append(in, reflect.ValueOf(a))
	}
	out := f.Call(in)
	conn, _ := out[0].Interface().(quic.Connection)
	err, _ := out[1].Interface().(error)
	return conn, err
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Second)
	defer cancel()
	conf := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"macula"}}
	conn, err := dial(ctx, os.Args[1], conf, (*quic.Config)(nil))
	if err != nil {
		fail("handshake", err)
	}
	s, err := conn.OpenStreamSync(ctx)
	if err != nil {
		fail("stream", err)
	}
	s.SetDeadline(time.Now().Add(300 * time.Second))
	connect := cat([]byte{0x84}, bin("version"), bin("1.0"), bin("node_id"), bin("quic-go"), bin("capabilities"),
		[]byte{0x92}, bin("pubsub"), bin("rpc"), bin("realm_id"), bin("default"))
	subscribe := cat([]byte{0x82}, bin("qos"), []byte{0}, bin("topics"), []byte{0x91}, bin("go.*"))
	publish := cat([]byte{0x85}, bin("topic"), bin("go.test"), bin("payload"), bin("hello from quic-go"), bin("qos"), []byte{0},
		bin("retain"), []byte{0xc2}, bin("message_id"), bin("0123456789abcdef"))
	// All glued together, as the original's clients may send them.
	if _, err := s.Write(cat(frame(1, connect), frame(0x11, subscribe), frame(0x10, publish))); err != nil {
		fail("write", err)
	}
	kind, _, err := read(s)
	if err != nil || kind != 4 {
		fail(fmt.Sprintf("expected PONG, got type %#x", kind), err)
	}
	fmt.Println("ok quic-go client: handshake, CONNECT and PONG")
	kind, p, err := read(s)
	if err != nil || kind != 0x10 || !bytes.Contains(p, []byte("hello from quic-go")) {
		fail(fmt.Sprintf("expected PUBLISH, got type %#x", kind), err)
	}
	fmt.Println("ok quic-go client: subscribed and heard its publish")
	conn.CloseWithError(0, "")
}
