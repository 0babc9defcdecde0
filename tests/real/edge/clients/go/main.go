// A stock client on one connection: two thousand requests a second for a while, then as fast as it goes, beside a
// connection of the same kind that says nothing. Prints what came of it as one line of JSON.
//
// Usage: clients -client grpc-go|collector -to HOST:PORT [-delay 5s] [-paced 5s] [-rate 2000] [-requests 0] [-full 0s].
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// What grpc-go raises any shorter keepalive time to.
	fastestKeepalive = 10 * time.Second
	patience         = 20 * time.Second
	spansPerRequest  = 10
	inFlightMax      = 48
)

// sender is one client with its one connection.
type sender interface {
	send(context.Context) error
	close()
}

// load has requests sent and keeps count.
type load struct {
	sent, failed atomic.Int64
	slowest      atomic.Int64
	mutex        sync.Mutex
	failures     []string
}

func (l *load) one(client sender) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	begun := time.Now()
	err := client.send(ctx)
	took := int64(time.Since(begun))
	for seen := l.slowest.Load(); took > seen && !l.slowest.CompareAndSwap(seen, took); {
		seen = l.slowest.Load()
	}
	l.sent.Add(1)
	if err != nil {
		l.failed.Add(1)
		l.mutex.Lock()
		defer l.mutex.Unlock()
		if len(l.failures) < 5 {
			l.failures = append(l.failures, err.Error())
		}
	}
}

// run sends `rate` requests a second, or as fast as answers come when it is zero, until the time is over or all
// requests (any number when it is zero) are sent. Returns the seconds it took.
func (l *load) run(client sender, rate, requests int64, most time.Duration) float64 {
	begun := time.Now()
	due := make(chan struct{})
	var workers sync.WaitGroup
	for range inFlightMax {
		workers.Go(func() {
			for range due {
				l.one(client)
			}
		})
	}
	for number := int64(0); requests == 0 || number < requests; number++ {
		if rate > 0 {
			at := begun.Add(time.Duration(number) * time.Second / time.Duration(rate))
			time.Sleep(time.Until(at))
		}
		if time.Since(begun) >= most {
			break
		}
		due <- struct{}{}
	}
	close(due)
	workers.Wait()
	return time.Since(begun).Seconds()
}

func version(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, one := range info.Deps {
			if one.Path == module {
				return one.Version
			}
		}
	}
	return "?"
}

func open(kind, to string, wire *wire) (sender, string, error) {
	switch kind {
	case "grpc-go":
		client, err := openGRPC(to, wire)
		return client, "grpc-go " + version("google.golang.org/grpc"), err
	case "collector":
		client, err := openCollector(to, wire)
		module := "go.opentelemetry.io/collector/exporter/otlpexporter"
		return client, "the Collector's otlp exporter " + version(module), err
	}
	return nil, "", fmt.Errorf("no client is called %q", kind)
}

func main() {
	kind := flag.String("client", "grpc-go", "grpc-go or collector")
	to := flag.String("to", "", "host:port of an OTLP/gRPC receiver")
	delay := flag.Duration("delay", 0, "connected, says nothing for so long before it begins")
	paced := flag.Duration("paced", 5*time.Second, "how long it sends -rate requests a second")
	rate := flag.Int64("rate", 2000, "requests a second meanwhile")
	requests := flag.Int64("requests", 0, "as fast as it goes until so many are sent in all")
	full := flag.Duration("full", 0, "and for so long at most")
	hold := flag.Duration("hold", 0, "goes on to hold both connections until so much time has passed since the start")
	flag.Parse()
	var busyWire, idleWire wire
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	begun := time.Now()
	busy, name, err := open(*kind, *to, &busyWire)
	fail(err)
	idle, _, err := open(*kind, *to, &idleWire)
	fail(err)
	var quiet, all load
	quiet.one(idle)
	all.one(busy)
	time.Sleep(*delay)
	pacedSeconds := all.run(busy, *rate, 0, *paced)
	pacedRequests, pacedPings := all.sent.Load(), busyWire.pings.Load()
	fullSeconds := 0.0
	if *requests > pacedRequests {
		fullSeconds = all.run(busy, 0, *requests-pacedRequests, *full)
	}
	time.Sleep(time.Until(begun.Add(*hold)))
	quiet.one(idle)
	all.one(busy)
	result := map[string]any{
		"client": name, "spans": spansPerRequest * (all.sent.Load() + quiet.sent.Load()),
		"requests": all.sent.Load(), "failed": all.failed.Load() + quiet.failed.Load(),
		"failures":       append(all.failures, quiet.failures...),
		"paced_requests": pacedRequests, "paced_seconds": pacedSeconds, "paced_pings": pacedPings,
		"full_seconds": fullSeconds, "slowest_ms": float64(all.slowest.Load()) / 1e6, "held_seconds": time.Since(begun).Seconds(),
		"busy": busyWire.seen(), "idle": idleWire.seen(),
	}
	fail(json.NewEncoder(os.Stdout).Encode(result))
	busy.close()
	idle.close()
}
