package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "flood: error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "udp":
		rate, err := strconv.Atoi(args[2])
		if err != nil || rate < 200 {
			return fmt.Errorf("rate %q: want 200 packets a second or more", args[2])
		}
		return floodUDP(args[1], rate)
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	case len(args) == 3 && args[0] == "hold":
		return hold(args[1], args[2])
	}
	return fmt.Errorf("usage: flood udp ADDRESS RATE | serve ADDRESS:PORT | hold ADDRESS:PORT FILE")
}

// tick is how often a batch is sent.
const tick = 5 * time.Millisecond

// floodUDP sends to ever new ports of an address, from a new port of its own when they are used up: each packet is a new
// flow. It ends when it is killed.
func floodUDP(address string, rate int) error {
	ip := net.ParseIP(address)
	if ip == nil {
		return fmt.Errorf("address %q", address)
	}
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for {
		socket, err := net.ListenUDP("udp", nil)
		if err != nil {
			return err
		}
		for port := 1; port < 1<<16; {
			<-ticks.C
			for range rate / int(time.Second/tick) {
				// An ICMP error for an earlier packet (port unreachable) and a full queue do not end a flood.
				_, _ = socket.WriteToUDP([]byte("x"), &net.UDPAddr{IP: ip, Port: port})
				port++
			}
		}
		if err := socket.Close(); err != nil {
			return err
		}
	}
}

// serve sends each byte back.
func serve(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(conn, conn) // the other side judges
			_ = conn.Close()
		}()
	}
}

// hold keeps one connection and sends a byte over it ten times a second. The file holds how many came back; it no longer
// grows when the connection is broken.
func hold(address, file string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	buf := make([]byte, 1)
	for n := 1; ; n++ {
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			return err
		}
		if _, err := conn.Write(buf); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, buf); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(strconv.Itoa(n)), 0o644); err != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}
