package pgtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// errMissing says that this machine has no PostgreSQL that tests can start.
var errMissing = errors.New("pgtest: no initdb and postgres on PATH or in /usr/lib/postgresql/*/bin")

// Options of a cluster.
type Options struct {
	// Durable leaves fsync, full_page_writes and synchronous_commit on: for
	// tests that kill the server, and for measuring.
	Durable bool
}

// Cluster is one running PostgreSQL server. Its methods are not safe for
// concurrent use.
type Cluster struct {
	opt     Options
	bin     string
	dir     string // holds data/ and the socket
	port    int
	log     *os.File
	process *os.Process
	ended   chan struct{} // closed when the process has ended
}

// Start starts a cluster of the test's own, stopped and removed when the test
// ends. It skips or fails like [Database] where there is no PostgreSQL.
func Start(tb testing.TB, opt Options) *Cluster {
	tb.Helper()
	c, err := start(tb.Context(), opt)
	need(tb, err)
	tb.Cleanup(func() {
		if err := c.remove(); err != nil {
			tb.Errorf("removing the cluster: %v", err)
		}
	})
	return c
}

// Database returns the URL of a new, empty database on the cluster.
func (c *Cluster) Database(tb testing.TB) string {
	tb.Helper()
	return fresh(tb, c.url("postgres"))
}

// Crash stops the server as a crash would: every process of it quits at once
// and writes nothing more (PostgreSQL's immediate shutdown). What it had
// acknowledged survives if the cluster is Durable.
func (c *Cluster) Crash(tb testing.TB) {
	tb.Helper()
	if err := c.process.Signal(syscall.SIGQUIT); err != nil {
		tb.Fatalf("stopping PostgreSQL: %v", err)
	}
	<-c.ended
}

// Restart starts the server again after Crash, on the same port; it recovers
// first. It returns once the server answers.
func (c *Cluster) Restart(tb testing.TB) {
	tb.Helper()
	if err := c.run(tb.Context()); err != nil {
		tb.Fatalf("restarting PostgreSQL: %v", err)
	}
}

func (c *Cluster) url(database string) string {
	return fmt.Sprintf("postgres://test@127.0.0.1:%d/%s?sslmode=disable", c.port, database)
}

// start makes a cluster and runs it.
func start(ctx context.Context, opt Options) (*Cluster, error) {
	bin, err := find()
	if err != nil {
		return nil, err
	}
	user, err := credential()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pgtest-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{opt: opt, bin: bin, dir: dir}
	if err := c.make(ctx, user); err != nil {
		return nil, errors.Join(err, c.remove())
	}
	// The port is free when it is asked for and may be taken when the server
	// starts: then another is tried.
	for attempt := 0; ; attempt++ {
		if c.port, err = freePort(); err == nil {
			err = c.run(ctx)
		}
		if err == nil {
			return c, nil
		}
		if attempt == 2 || ctx.Err() != nil {
			return nil, errors.Join(err, c.remove())
		}
	}
}

// make runs initdb.
func (c *Cluster) make(ctx context.Context, user *syscall.Credential) error {
	if user != nil {
		if err := os.Chown(c.dir, int(user.Uid), int(user.Gid)); err != nil {
			return err
		}
	}
	log, err := os.Create(filepath.Join(c.dir, "log"))
	if err != nil {
		return err
	}
	c.log = log
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "initdb"),
		"-D", filepath.Join(c.dir, "data"), "-U", "test", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	cmd.Dir = c.dir
	cmd.SysProcAttr = attributes(user)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pgtest: initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// run starts the server and waits until it answers.
func (c *Cluster) run(ctx context.Context) error {
	user, err := credential()
	if err != nil {
		return err
	}
	args := []string{
		"-D", filepath.Join(c.dir, "data"), "-p", strconv.Itoa(c.port), "-h", "127.0.0.1", "-k", c.dir,
		"-c", "max_connections=200", "-c", "logging_collector=off",
	}
	if !c.opt.Durable {
		args = append(args, "-F", "-c", "full_page_writes=off", "-c", "synchronous_commit=off")
	}
	cmd := exec.Command(filepath.Join(c.bin, "postgres"), args...)
	cmd.Dir = c.dir
	cmd.Stdout, cmd.Stderr = c.log, c.log
	cmd.SysProcAttr = attributes(user)
	started, ended := make(chan error), make(chan struct{})
	go func() {
		// On Linux the server is told to quit when the thread that started it
		// ends (see attributes): this one stays until the process does.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in the log
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		return err
	}
	c.process, c.ended = cmd.Process, ended
	return c.awaitReady(ctx)
}

func (c *Cluster) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	db, err := sql.Open("postgres", c.url("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if err = db.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-c.ended:
			return fmt.Errorf("pgtest: postgres ended: %s", c.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("pgtest: postgres does not answer: %w: %s", err, c.lastWords())
		}
	}
}

// lastWords returns the end of the server's log.
func (c *Cluster) lastWords() []byte {
	text, _ := os.ReadFile(c.log.Name())
	return text[max(0, len(text)-2000):]
}

// remove stops the server and deletes its files.
func (c *Cluster) remove() error {
	if c.process != nil {
		_ = c.process.Signal(syscall.SIGQUIT) // it may have been killed
		<-c.ended
	}
	if c.log != nil {
		_ = c.log.Close()
	}
	return os.RemoveAll(c.dir)
}

// find returns the folder of the newest PostgreSQL's programs. On Debian only
// clients are on PATH.
func find() (string, error) {
	folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is well formed
	slices.SortFunc(folders, func(a, b string) int { return version(b) - version(a) })
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			folders = append([]string{filepath.Dir(path)}, folders...)
		}
	}
	for _, folder := range folders {
		_, err1 := os.Stat(filepath.Join(folder, "initdb"))
		_, err2 := os.Stat(filepath.Join(folder, "postgres"))
		if err1 == nil && err2 == nil {
			return folder, nil
		}
	}
	return "", errMissing
}

// version reads 15 out of /usr/lib/postgresql/15/bin.
func version(folder string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(folder)))
	return n
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
