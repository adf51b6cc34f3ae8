package server

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Clock is the hub's idea of now; it is handed in.
type Clock func() time.Time

// gate is what stands before every RPC: recover, authenticate, authorise, turn
// errors into statuses, log. One gate serves unary calls and streams.
type gate struct {
	auth *authenticator
	log  *slog.Logger
	// mono measures how long calls take; real time also where the hub's clock
	// follows data.
	mono func() time.Time
	// sound says why the ledger can no longer be trusted; nil while it can.
	sound func() error
	roles roleSet // of this process
}

func (g *gate) admit(ctx context.Context, method string) (context.Context, error) {
	if err := g.sound(); err != nil && !strings.HasPrefix(method, "/grpc.health.v1.") {
		return nil, err
	}
	p, err := g.auth.principal(ctx)
	if err != nil {
		return nil, err
	}
	switch rule, known := Matrix[method]; {
	case !known:
		return nil, errNoSuchCall
	case !g.roles.has(rule.By):
		return nil, errElsewhere
	}
	if !allowed(method, p.Kind) {
		if p.Kind&Public != 0 {
			return nil, &inputError{codes.Unauthenticated, "no_identity", "this call needs a client certificate or a session"}
		}
		return nil, &inputError{codes.PermissionDenied, "not_for_you", "this call is not for this kind of caller"}
	}
	if p.Consent != "" && !underOneConsent[method] {
		return nil, errOneConsent
	}
	return withPrincipal(ctx, p), nil
}

// errNoSuchCall answers a call that nobody answers: it is denied to everyone.
var errNoSuchCall = &inputError{codes.Unimplemented, "no_such_call", "there is no such call or service"}

// errElsewhere answers a call that another part of the hub answers.
var errElsewhere = &inputError{codes.Unimplemented, "served_elsewhere", "another part of this hub answers this call, at another address"}

// finish turns err into what the caller sees and writes the call's log line:
// method, code, reason and duration, never what was asked or answered.
func (g *gate) finish(ctx context.Context, method string, began time.Time, err error) error {
	out, internal := toStatus(err)
	attrs := []slog.Attr{slog.String("method", method), slog.String("code", status.Code(out).String()), slog.Duration("took", g.mono().Sub(began))}
	level := slog.LevelDebug
	if internal {
		level = slog.LevelError
		attrs = append(attrs, slog.String("cause", err.Error()))
	}
	g.log.LogAttrs(ctx, level, "rpc", attrs...)
	return out
}

// recovered, deferred, turns a panic into an error and logs where it came from.
// Its value is not logged: it may hold what was being read.
func recovered(ctx context.Context, log *slog.Logger, where string, err *error) {
	if r := recover(); r != nil {
		log.LogAttrs(ctx, slog.LevelError, "panic", slog.String("in", where), slog.String("type", fmt.Sprintf("%T", r)), slog.Any("stack", stack()))
		*err = fmt.Errorf("server: panic of type %T", r)
	}
}

// stack lists the calls that led here, the latest first, each by function and
// line. Go's own trace also prints words of the arguments, which may be of a
// reading or a key.
func stack() []string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var calls []string
	for {
		f, more := frames.Next()
		calls = append(calls, fmt.Sprintf("%s:%d", f.Function, f.Line))
		if !more {
			return calls
		}
	}
}

func (g *gate) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	began := g.mono()
	resp, err := func() (resp any, err error) {
		defer recovered(ctx, g.log, info.FullMethod, &err)
		ctx, err := g.admit(ctx, info.FullMethod)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, unaryTimeout)
		defer cancel()
		return h(ctx, req)
	}()
	return resp, g.finish(ctx, info.FullMethod, began, err)
}

// unaryTimeout bounds every unary call, whatever deadline its client set.
const unaryTimeout = 60 * time.Second

type streamWithContext struct {
	grpc.ServerStream
	ctx context.Context
}

func (s streamWithContext) Context() context.Context { return s.ctx }

func (g *gate) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	began := g.mono()
	err := func() (err error) {
		defer recovered(ss.Context(), g.log, info.FullMethod, &err)
		ctx, err := g.admit(ss.Context(), info.FullMethod)
		if err != nil {
			return err
		}
		return h(srv, streamWithContext{ss, ctx})
	}()
	return g.finish(ss.Context(), info.FullMethod, began, err)
}
