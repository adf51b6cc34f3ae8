package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/meter/profile"
	"github.com/wattveil/wattveil/server/store/storetest"
)

// An ingest that is interrupted, and then one that is killed, while they wait for
// more on standard input, go on with --run: what the hub has is not stored again,
// and in the end everything is there once.
//
// It would catch batch ids that depend on how far a run came, batches cut at other
// places the second time, and a repetition that is stored as new.
func TestIngestGoesOn(t *testing.T) {
	dir := t.TempDir()
	s, err := newSite(t.Context(), dir, "sqlite:"+filepath.Join(dir, "hub.db"))
	if err != nil {
		t.Fatal(err)
	}
	hub := s.start(t)
	homes := []string{"home-1", "home-2"}
	const days = 160
	first := meter.DayOf(since)
	codes, err := s.register(t.Context(), hub, homes, since)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ca.writeClient(dir, "works", "utility", testUtility); err != nil {
		t.Fatal(err)
	}
	lines := profileLines(t, homes, first, days) // more than three batches
	args := []string{
		"ingest", "--hub", hub.grpc, "--cert", s.path("works.pem"), "--key", s.path("works.key"), "--ca", s.path("tls/ca.pem"),
		"--norm", "profile", "--unit", "Wh", "--run", "night", "--json",
	}
	tables := storetest.Open(t, s.store)

	sendPart := func(upTo, batches int, end os.Signal) {
		t.Helper()
		cmd := exec.Command("wattveil", append(args, "-")...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		stdin, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Process.Kill() }() // if something below fails
		if _, err := io.WriteString(stdin, strings.Join(lines[:upTo], "")); err != nil {
			t.Fatal(err)
		}
		late := time.After(30 * time.Second)
		for len(tables.Batches(t)) < batches {
			select {
			case <-time.After(10 * time.Millisecond):
			case <-late:
				t.Fatalf("%d batches stored after 30 s, want %d: %s", len(tables.Batches(t)), batches, stderr.String())
			}
		}
		if err := cmd.Process.Signal(end); err != nil {
			t.Fatal(err)
		}
		// A program that does not end is killed, and its exit code tells.
		overdue := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		err = cmd.Wait()
		overdue.Stop()
		if end == os.Interrupt && (cmd.ProcessState.ExitCode() != 2 || !strings.Contains(stderr.String(), "(to go on: --run night)")) {
			t.Errorf("interrupted: %v: %s", err, stderr.String())
		}
	}
	// A batch is full when the row after it does not fit: 104 days of 96 intervals.
	const perBatch = batchIntervals / 96
	sendPart(1+perBatch+10, 1, os.Interrupt)
	sendPart(1+2*perBatch+10, 2, syscall.SIGKILL)

	file := filepath.Join(dir, "homes.csv")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := wattveil(t, append(args, file)...)
	var r ingestReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != 0 {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	const readings, batches = 2 * days * 96, (2*days + perBatch - 1) / perBatch
	if r.Sent != readings || r.Acked != readings || r.Batches != batches || r.Duplicates != 2 {
		t.Errorf("%d sent, %d acknowledged, %d batches, %d repeated; want %d readings in %d batches, 2 of them repeated", r.Sent, r.Acked, r.Batches, r.Duplicates, readings, batches)
	}
	if n, slots := len(tables.Batches(t)), tables.Slots(t); n != batches || slots != readings {
		t.Errorf("%d batches and %d intervals are stored, want %d and %d", n, slots, batches, readings)
	}
	for _, home := range homes {
		session, err := signIn(t.Context(), hub.http, codes[home])
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := readOwn(t.Context(), session, since, (first + days).Start())
		if err != nil {
			t.Fatal(err)
		}
		want := map[int64]int64{}
		for at := first.Start(); at < (first + days).Start(); at += 900 {
			want[at] = load(home, at)
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s reads %d readings that are not the %d sent", home, len(got), len(want))
		}
	}
}

// A hub that is away is waited for, and the wait is said; an interrupt ends it.
func TestIngestWaits(t *testing.T) {
	dir := t.TempDir()
	ca, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "homes.csv")
	if err := errors.Join(
		ca.writeClient(dir, "works", "utility", testUtility),
		os.WriteFile(filepath.Join(dir, "ca.pem"), ca.pem, 0o600),
		os.WriteFile(file, []byte(strings.Join(profileLines(t, []string{"home-1"}, meter.DayOf(since), 1), "")), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close() // its port is one where nobody listens
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var stdout bytes.Buffer
	stderr := &cue{text: "the hub does not answer: trying again for 10m0s", act: interrupt}
	code := run(ctx, []string{
		"ingest", "--hub", nobody.Addr().String(), "--cert", filepath.Join(dir, "works.pem"), "--key", filepath.Join(dir, "works.key"), "--ca", filepath.Join(dir, "ca.pem"),
		"--norm", "profile", "--unit", "Wh", "--run", "night", file,
	}, &stdout, stderr)
	if code != 2 || !strings.HasPrefix(stdout.String(), "0 readings sent, 0 acknowledged") || !strings.Contains(stderr.said.String(), "(to go on: --run night)") {
		t.Errorf("exit code %d: %s%s", code, stdout.String(), stderr.said.String())
	}
}

// cue keeps what is written to it and acts on a text.
type cue struct {
	text string
	act  func()
	said strings.Builder
}

func (c *cue) Write(b []byte) (int, error) {
	c.said.Write(b)
	if strings.Contains(c.said.String(), c.text) {
		c.act()
	}
	return len(b), nil
}

// profileLines is a file of the profile norm, in Wh and UTC: a header, and a row
// a home and day.
func profileLines(t *testing.T, homes []string, first meter.Day, days int) []string {
	t.Helper()
	var series []meter.Series
	for _, home := range homes {
		for day := range days {
			start := (first + meter.Day(day)).Start()
			series = append(series, meter.Series{
				UsagePoint: meter.UsagePoint(home), Register: meter.ActiveImport, Start: start, Length: 900, Values: loads(home, start, 96).GetValues(),
			})
		}
	}
	var b bytes.Buffer
	if err := profile.Encode(&b, series, profile.Options{Zone: time.UTC, Unit: profile.Wh}); err != nil {
		t.Fatal(err)
	}
	return slices.Collect(strings.Lines(b.String()))
}
