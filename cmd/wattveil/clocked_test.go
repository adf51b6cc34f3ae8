package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wattveil/wattveil/server"
)

// asClockedHub is `wattveil serve` by a clock that its parent moves:
//
//	wattveil-clocked CONFIG START
//
// It reads unix times, one a line, sets its clock to each and says "turned" and the time,
// does what time brings, and says "tended", with what was wrong, if anything.
func asClockedHub() {
	hangOn()
	if err := clockedHub(os.Args[1], os.Args[2], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func clockedHub(config, start string, in io.Reader, out io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg, err := server.LoadConfig(config)
	if err != nil {
		return err
	}
	clock := &dataClock{}
	turn := func(text string) error {
		at, err := strconv.ParseInt(text, 10, 64)
		clock.set(time.Unix(at, 0))
		return err
	}
	if err := turn(start); err != nil {
		return err
	}
	hub, closeHub, err := openHub(ctx, cfg, clock.Now, slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	defer closeHub()
	announce(out, hub)
	go func() {
		for lines := bufio.NewScanner(in); lines.Scan(); {
			err := turn(lines.Text())
			fmt.Fprintln(out, "turned", lines.Text())
			if err == nil {
				err = hub.Tend(ctx)
			}
			fmt.Fprintln(out, "tended", wrong(err))
		}
	}()
	return hub.Serve(ctx)
}

// wrong is an error on one line, or nothing.
func wrong(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// clockedProcess is a clocked hub on a site.
type clockedProcess struct {
	*hubProcess
	in io.WriteCloser
}

// startClocked starts a clocked hub that is killed when the test ends, and waits for it.
func (s *site) startClocked(t *testing.T, now time.Time) *clockedProcess {
	t.Helper()
	return runClocked(t, s.path("hub.yaml"), s.path("hub.log"), now)
}

// runClocked starts a clocked hub of a configuration, as startClocked does.
func runClocked(t *testing.T, config, logFile string, now time.Time) *clockedProcess {
	t.Helper()
	cmd := exec.Command("wattveil-clocked", config, strconv.FormatInt(now.Unix(), 10))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	h, err := runHub(cmd, logFile)
	if err == nil {
		t.Cleanup(h.kill)
		err = h.await(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return &clockedProcess{h, in}
}

// turn sets the clock, and does not wait for what that brings: h.tended says when it is
// done, and what was wrong.
func (h *clockedProcess) turn(now time.Time) error {
	if _, err := fmt.Fprintln(h.in, now.Unix()); err != nil {
		return err
	}
	select {
	case <-h.turned:
		return nil
	case <-h.ended:
		return fmt.Errorf("the hub ended: %w: %s", h.result, h.lastWords())
	}
}
