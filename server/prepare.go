package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// preparer checks and seals batches. It holds public keys and the day keys its
// writer made; it cannot open what it has sealed in an earlier process.
type preparer struct {
	store   *store.Store
	writers *writers
	windows windowKeys
	keys    *keyCache
	macKey  hidden
	clock   Clock
	slack   int64 // seconds an interval may end after the clock
	// slots bounds how many batches are prepared at once: sealing is work for
	// the processor, and more of it than there are cores only adds latency.
	slots chan struct{}
}

// windowKeys tells ingest where contributions of a day are sealed to;
// privacy/release implements it.
type windowKeys interface {
	// WindowFor returns the window that takes contributions of a day, and its public
	// key, or release.ErrWindowClosed when nothing that the day is part of is open.
	WindowFor(ctx context.Context, day meter.Day) (meter.Day, seal.PublicKey, error)
	// Closed forgets the key of a window that the store says is closed.
	Closed(day meter.Day)
	// Contributes reports whether some total is made of a series.
	Contributes(s meter.Series) bool
}

// prepared is a batch ready to be stored.
type prepared struct {
	writer  *seal.Writer
	batch   store.Batch
	targets []targetDay
	windows []windowDay
	refused []refusal
}

// targetDay names a day key that the batch was sealed under, windowDay a spool
// key: every transaction carries their wraps until one that contained them is
// known to be committed.
type targetDay struct {
	target seal.Target
	day    meter.Day
}

type windowDay struct {
	key seal.PublicKey
	day meter.Day
}

// refusal is an interval given back to its sender. The register is kept as the
// sender wrote it: it may be what is wrong.
type refusal struct {
	UsagePoint   meter.UsagePoint
	RegisterText string
	Start        int64
	Reason       meter.Reason
}

// prepare turns a batch into what is stored of it: sealed blocks, and the same
// contributions sealed for the windows of their days. Refusals are part of the
// result, per interval and by name.
func (p *preparer) prepare(ctx context.Context, utility meter.Utility, req *wattveilv1.SubmitRequest) (*prepared, error) {
	w, err := p.writers.get(ctx)
	if err != nil {
		return nil, err
	}
	out, err := p.inSlot(ctx, w, utility, req)
	if errors.Is(err, seal.ErrWriterSpent) {
		// Without a slot: a new writer waits until it is on record.
		if w, err = p.writers.replace(ctx, w); err != nil {
			return nil, err
		}
		out, err = p.inSlot(ctx, w, utility, req)
	}
	return out, err
}

// inSlot is prepareWith, as soon as there is a slot.
func (p *preparer) inSlot(ctx context.Context, w *seal.Writer, utility meter.Utility, req *wattveilv1.SubmitRequest) (*prepared, error) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return p.prepareWith(ctx, w, utility, req)
}

func (p *preparer) prepareWith(ctx context.Context, w *seal.Writer, utility meter.Utility, req *wattveilv1.SubmitRequest) (*prepared, error) {
	now := p.clock()
	sealer := w.Begin()
	out := &prepared{writer: w, batch: store.Batch{
		Utility: utility, ID: req.GetBatchId(), AcceptedAt: sealer.AcceptedAt(),
	}}
	targets, err := p.lookUp(ctx, req)
	if err != nil {
		return nil, err
	}
	keys, err := p.keys.get(ctx, targets)
	if err != nil {
		return nil, err
	}
	accepted := p.check(utility, req, targets, now.Unix(), out)
	contributions := map[meter.Day][]seal.Contribution{}
	for _, s := range accepted {
		if err := p.sealSeries(sealer, s, targets[s.UsagePoint], keys, out, contributions); err != nil {
			return nil, err
		}
	}
	if err := p.spool(ctx, sealer, contributions, out); err != nil {
		return nil, err
	}
	out.batch.Refused = len(out.refused)
	out.batch.MAC, out.batch.AnswerMAC = contentMAC(p.macKey.bytes(), utility, req), answerMAC(p.macKey.bytes(), out)
	return out, nil
}

// lookUp finds who is metered at the batch's usage points, and where they live
// in the grid: always fresh, because people move.
func (p *preparer) lookUp(ctx context.Context, req *wattveilv1.SubmitRequest) (map[meter.UsagePoint]store.Target, error) {
	points := make([]meter.UsagePoint, 0, len(req.GetSeries()))
	for _, s := range req.GetSeries() {
		if u, err := meter.ParseUsagePoint(s.GetUsagePoint()); err == nil {
			points = append(points, u)
		}
	}
	slices.Sort(points)
	targets, err := p.store.TargetsFor(ctx, slices.Compact(points))
	if err != nil {
		return nil, fmt.Errorf("looking up usage points: %w", err)
	}
	return targets, nil
}

// check validates every series and returns those of which anything is left.
// Refused slots are turned to missing ones; the rest of the series stands.
func (p *preparer) check(utility meter.Utility, req *wattveilv1.SubmitRequest, targets map[meter.UsagePoint]store.Target, now int64, out *prepared) []meter.Series {
	accepted := make([]meter.Series, 0, len(req.GetSeries()))
	texts := map[meter.Register]string{}
	for _, in := range req.GetSeries() {
		s, reason := fromWire(in)
		if reason == "" {
			t, known := targets[s.UsagePoint]
			if !known || t.Utility != utility {
				reason = meter.UnknownUsagePoint // also for another utility's point: it tells nobody whose it is
			} else {
				texts[s.Register] = in.GetRegister()
				for _, r := range s.Validate(meter.Limits{CapWatts: t.CapWatts, Now: now, FutureSlack: p.slack}) {
					out.refused = append(out.refused, refusal{r.UsagePoint, in.GetRegister(), r.Start, r.Reason})
				}
			}
		}
		if reason != "" {
			out.refuseSeries(in, reason)
			continue
		}
		if s.Present() > 0 {
			accepted = append(accepted, s)
		}
	}
	refused, repeated := meter.RefuseConflicts(accepted)
	out.batch.Intervals = repeated // stated twice alike: stored once, acknowledged as often as sent
	for _, r := range refused {
		out.refused = append(out.refused, refusal{r.UsagePoint, texts[r.Register], r.Start, r.Reason})
	}
	return accepted
}

// refuseSeries gives back every interval of a series that states something.
func (out *prepared) refuseSeries(in *wattveilv1.Series, reason meter.Reason) {
	point, register := meter.UsagePoint(echo(in.GetUsagePoint())), echo(in.GetRegister())
	countable := len(in.GetQualities()) == len(in.GetValues())
	for i := range in.GetValues() {
		if countable && meter.Quality(in.GetQualities()[i]) == meter.Missing {
			continue
		}
		out.refused = append(out.refused, refusal{point, register, in.GetStart() + int64(i)*in.GetLengthSeconds(), reason})
	}
}

// maxEcho is how much of a name that is not well formed goes back to its sender:
// it does so once for every interval, and must not fill the answer.
const maxEcho = 32

func echo(name string) string {
	if len(name) <= meter.MaxIdentifier {
		return name
	}
	return strings.ToValidUTF8(name[:maxEcho], "") + "..."
}

// fromWire reads one series, sharing its values. The reason is set when its
// frame is wrong.
func fromWire(in *wattveilv1.Series) (meter.Series, meter.Reason) {
	u, err := meter.ParseUsagePoint(in.GetUsagePoint())
	if err != nil {
		return meter.Series{}, meter.UnknownUsagePoint
	}
	r, err := meter.ParseRegister(in.GetRegister())
	if err != nil {
		return meter.Series{}, meter.UnknownRegister
	}
	s := meter.Series{UsagePoint: u, Register: r, Start: in.GetStart(), Length: in.GetLengthSeconds(), Revision: in.GetRevision(), Values: in.GetValues()}
	if q := in.GetQualities(); len(q) > 0 {
		s.Quality = make([]meter.Quality, len(q))
		for i, c := range q {
			s.Quality[i] = meter.Quality(c)
		}
	}
	return s, ""
}

// sealSeries seals a series for the households that lived there when its
// intervals began, UTC day by UTC day, and collects its contributions.
func (p *preparer) sealSeries(sealer seal.Batch, s meter.Series, t store.Target, keys map[consent.Household]sealingKey, out *prepared, contributions map[meter.Day][]seal.Contribution) error {
	home := s.Start // everything before it has found its household
	for _, o := range t.Occupants {
		until := o.Until
		if until == 0 {
			until = s.End()
		}
		out.refuseHomeless(s.Trim(home, min(o.From, s.End())))
		home = max(home, until)
		lived := s.Trim(o.From, until)
		if lived.Present() == 0 {
			continue
		}
		k, ok := keys[o.Household]
		if !ok {
			out.refuseHomeless(lived)
			continue
		}
		target := seal.Target{Household: o.Household, Generation: k.generation, Key: k.key, CapWatts: t.CapWatts}
		for _, day := range lived.SplitUTCDays() {
			if day.Present() == 0 {
				continue
			}
			block, err := sealer.Seal(target, day)
			if err != nil {
				return fmt.Errorf("sealing block: %w", err)
			}
			out.batch.Blocks = append(out.batch.Blocks, block)
			out.batch.Intervals += day.Present()
			if td := (targetDay{target, block.Day}); len(out.targets) == 0 || !sameTarget(out.targets[len(out.targets)-1], td) {
				// Making the wrap is most of the work on a day's first block: here it is
				// done by many goroutines, and the committer finds it made.
				if _, _, err := out.writer.Wrap(target, block.Day); err != nil {
					return fmt.Errorf("wrapping day key: %w", err)
				}
				out.targets = append(out.targets, td)
			}
			if p.windows.Contributes(day) {
				contributions[block.Day] = append(contributions[block.Day], seal.Contribution{Household: o.Household, CapWatts: t.CapWatts, Series: day})
			}
		}
	}
	out.refuseHomeless(s.Trim(home, s.End()))
	return nil
}

func sameTarget(a, b targetDay) bool {
	return a.day == b.day && a.target.Household == b.target.Household && a.target.Generation == b.target.Generation
}

// refuseHomeless gives back intervals of a time when nobody is registered at
// the point: there is no key to seal them to.
func (out *prepared) refuseHomeless(s meter.Series) {
	for i := range s.Values {
		if s.QualityAt(i) != meter.Missing {
			out.refused = append(out.refused, refusal{s.UsagePoint, s.Register.String(), s.StartAt(i), NoHousehold})
		}
	}
}

// NoHousehold refuses an interval that began when no household was registered
// at its usage point, or one whose household has been erased.
const NoHousehold meter.Reason = "no_household"

// spool seals the batch's contributions, a record a window. Days that nothing open is
// made of are stored for the household only.
func (p *preparer) spool(ctx context.Context, sealer seal.Batch, contributions map[meter.Day][]seal.Contribution, out *prepared) error {
	keys := map[meter.Day]seal.PublicKey{}
	sent := map[meter.Day][]seal.Contribution{}
	for _, day := range slices.Sorted(maps.Keys(contributions)) {
		window, key, err := p.windows.WindowFor(ctx, day)
		if errors.Is(err, release.ErrWindowClosed) {
			continue
		}
		if err != nil {
			return fmt.Errorf("looking up window: %w", err)
		}
		keys[window], sent[window] = key, append(sent[window], contributions[day]...)
	}
	for _, window := range slices.Sorted(maps.Keys(sent)) {
		record, err := sealer.Spool(window, keys[window], sent[window])
		if err != nil {
			return fmt.Errorf("sealing contributions: %w", err)
		}
		out.batch.Spool = append(out.batch.Spool, record)
		out.windows = append(out.windows, windowDay{keys[window], window})
	}
	return nil
}
