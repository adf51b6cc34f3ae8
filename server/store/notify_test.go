package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/notify"
	"github.com/wattveil/wattveil/server/store"
)

const receiver = "https://receiver.example/hook"

// endpointOf gives recipient r a webhook.
func endpointOf(t testing.TB, s *store.Store, r consent.Recipient) {
	t.Helper()
	must(t, s.PutEndpoint(t.Context(), r, receiver, notify.Webhook, 5))
}

// agreedTo is a consent of h1's that r may read under.
func agreedTo(id consent.ID) consent.Consent {
	c := sampleConsent(id, "h1", 1)
	c.State, c.DecidedAt, c.Asked = consent.Granted, 2, c.Terms
	return c
}

func putConsents(t testing.TB, s *store.Store, cs ...consent.Consent) {
	t.Helper()
	do(t, s, func(ctx context.Context, tx *store.Tx) error {
		for _, c := range cs {
			if err := tx.PutConsent(ctx, c); err != nil {
				return err
			}
		}
		return nil
	})
}

// listed are all notifications of r that can be pulled.
func listed(t testing.TB, s *store.Store) []notify.Event {
	t.Helper()
	events, err := s.ListNotifications(t.Context(), "r", 0, 1000)
	must(t, err)
	return events
}

func kinds(events []notify.Event) (out []notify.Kind) {
	for _, e := range events {
		out = append(out, e.Kind)
	}
	return out
}

// What a third party is told of a consent, step by step, and that who has no endpoint is
// told nothing. It would catch a step that is not told, and one that is told though nothing
// changed.
func TestToldOfConsents(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		endpointOf(t, s, "r")
		asked := sampleConsent("c", "h1", 1)
		asked.Asked = asked.Terms
		stranger := agreedTo("theirs")
		stranger.Recipient = "other"
		putConsents(t, s, asked, stranger)
		if events := listed(t, s); len(events) != 0 {
			t.Errorf("told of its own request, or of another's consent: %v", kinds(events))
		}
		c := agreedTo("c")
		narrow := c
		narrow.Terms.DataUntil--
		other := narrow
		other.Terms.Purpose.Text = "Something else."
		held := other
		held.State, held.Cause = consent.Suspended, consent.ByOperator
		over := other
		over.State, over.Cause, over.EndedAt = consent.Revoked, consent.ByHousehold, 9
		vacated := c
		vacated.VacatedAt = 77
		for _, step := range []consent.Consent{c, c, vacated, narrow, c, other, held, other, over} {
			putConsents(t, s, step)
		}
		want := []notify.Kind{
			"consent.granted", notify.ConsentNarrowed, notify.ConsentExtended, notify.ConsentChanged, "consent.suspended", notify.ConsentResumed, "consent.revoked",
		}
		events := listed(t, s)
		if d := cmp.Diff(want, kinds(events)); d != "" {
			t.Errorf("told (-want +got):\n%s", d)
		}
		if last := events[len(events)-1]; last.Cause != consent.ByHousehold || last.Seq != uint64(len(want)) || last.Consent != "c" {
			t.Errorf("the last is %+v", last)
		}
	})
}

// A notification is part of the transaction that makes it true: it goes with a step that is
// taken back, and has the time and the index of the leaf that records it.
func TestToldWithTheLeaf(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		must(t, s.CreateHouseholds(t.Context(), []store.NewHousehold{family("h1", 0, "p1")}))
		must(t, s.CreateLedger(t.Context(), origin))
		endpointOf(t, s, "r")
		log := ledgertest.Start(t, ledger.Store[*store.Tx](s))
		step := func(id string, kind ledger.Kind, c consent.Consent, fail error) ledger.Proposal[*store.Tx] {
			return ledger.Proposal[*store.Tx]{RequestID: id, Func: func(ctx context.Context, tx *store.Tx, _ ledger.Position) (ledger.Payload, error) {
				return ledger.Payload{Kind: kind, Subject: "h1", Recipient: "r", Consent: string(c.ID)}, errors.Join(tx.PutConsent(ctx, c), fail)
			}}
		}
		narrow := agreedTo("a")
		narrow.Terms.DataUntil--
		boom := errors.New("boom")
		got := log.ProposeAll(t.Context(), []ledger.Proposal[*store.Tx]{
			step("undone", ledger.KindConsentGrant, agreedTo("undone"), boom), step("b", ledger.KindConsentGrant, agreedTo("b"), nil),
			step("a", ledger.KindConsentGrant, agreedTo("a"), nil), step("n", ledger.KindConsentNarrow, narrow, nil),
		})
		events := listed(t, s)
		if len(events) != 3 {
			t.Fatalf("told %v, want what was recorded and no more", kinds(events))
		}
		for i, e := range events {
			r := got[i+1].Receipt
			p, err := ledger.DecodePayload(r.Payload)
			must(t, err)
			if e.Leaf != r.Index || e.At != p.Time/1e6 || string(e.Consent) != p.Consent {
				t.Errorf("%s of %s at %d, leaf %d; recorded at %d, leaf %d", e.Kind, e.Consent, e.At, e.Leaf, p.Time/1e6, r.Index)
			}
		}
	})
}

// Whoever goes on from the last number it has seen misses nothing, however many write at
// the same time. It would catch numbers that are given before they can be seen.
func TestCursorMissesNothing(t *testing.T) {
	const writers, each = 4, 15
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		endpointOf(t, s, "r")
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					c := agreedTo(consent.ID(fmt.Sprint(w, "-", i)))
					if err := s.Transact(context.WithoutCancel(t.Context()), func(ctx context.Context, tx *store.Tx) error { return tx.PutConsent(ctx, c) }); err != nil {
						t.Error(err)
					}
				}
			})
		}
		seen := map[consent.ID]bool{}
		since, done := uint64(0), make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		for last := false; ; {
			events, err := s.ListNotifications(t.Context(), "r", since, 7)
			must(t, err)
			for _, e := range events {
				seen[e.Consent], since = true, e.Seq
			}
			if len(events) == 0 && last {
				break
			}
			select {
			case <-done:
				last = true
			default:
			}
		}
		if len(seen) != writers*each {
			t.Errorf("saw %d of %d", len(seen), writers*each)
		}
	})
}

// However often readings of a day come, they are told of once, by the newest notification;
// what waits grows with what touches it, and what lies apart stays apart. A mark that is not
// the one it was, and a consent that is over, tell nothing.
func TestAnnounce(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx, day := t.Context(), func(d int64) int64 { return d * 86400 }
		endpointOf(t, s, "r")
		putConsents(t, s, agreedTo("c"))
		called(t, s, notify.Settlement{Lease: notify.Lease{1}, Endpoint: claim(t, s, 1, 10, false)[0], Taken: []uint64{1}})
		version := uint64(0)
		announce := func(spans ...notify.Span) {
			t.Helper()
			a := notify.Announcement{Recipient: "r", Consent: "c", Version: version, Spans: spans, At: 50, Mark: notify.Mark{Days: []notify.DayCount{{Day: 1, Blocks: version + 1}}}}
			done, err := s.Announce(ctx, a)
			must(t, err)
			if !done {
				t.Error("not announced")
			}
			if done, err := s.Announce(ctx, a); err != nil || done {
				t.Errorf("announced by the same mark again: %t, %v", done, err)
			}
			version++
		}
		told := func() (spans []notify.Span) {
			for _, e := range listed(t, s) {
				if e.Kind == notify.ReadingsAvailable {
					spans = append(spans, notify.Span{From: e.From, Until: e.Until})
				}
			}
			return spans
		}
		want := func(what string, spans ...notify.Span) {
			t.Helper()
			if d := cmp.Diff(spans, told()); d != "" {
				t.Errorf("%s (-want +got):\n%s", what, d)
			}
		}
		announce(notify.Span{From: day(1), Until: day(2)}, notify.Span{From: day(9), Until: day(10)})
		want("two spans", notify.Span{From: day(1), Until: day(2)}, notify.Span{From: day(9), Until: day(10)})
		announce(notify.Span{From: day(1), Until: day(2)})
		want("the same day again", notify.Span{From: day(9), Until: day(10)}, notify.Span{From: day(1), Until: day(2)})
		announce(notify.Span{From: day(2), Until: day(3)})
		want("the next day", notify.Span{From: day(9), Until: day(10)}, notify.Span{From: day(1), Until: day(3)})
		events := listed(t, s)
		for _, e := range events[1:] {
			if e.At != 50 || e.State != notify.Waiting {
				t.Errorf("%+v", e)
			}
		}
		called(t, s, notify.Settlement{Lease: notify.Lease{2}, Endpoint: claim(t, s, 2, 60, false)[0], Taken: []uint64{events[1].Seq, events[2].Seq}})
		announce(notify.Span{From: day(2), Until: day(4)})
		want("what was taken does not grow", notify.Span{From: day(9), Until: day(10)}, notify.Span{From: day(1), Until: day(3)}, notify.Span{From: day(2), Until: day(4)})
		marked, err := s.LiveConsents(ctx, "r", consent.Consent{}, 10)
		must(t, err)
		if len(marked) != 1 || marked[0].Mark.Version != version || marked[0].Mark.Days[0].Blocks != version {
			t.Errorf("mark %+v", marked)
		}
		if more, err := s.LiveConsents(ctx, "r", marked[0].Consent, 10); err != nil || len(more) != 0 {
			t.Errorf("after the last consent: %v, %v", more, err)
		}
		over := agreedTo("c")
		over.State, over.EndedAt = consent.Revoked, 9
		putConsents(t, s, over)
		if done, err := s.Announce(ctx, notify.Announcement{Recipient: "r", Consent: "c", Version: version}); err != nil || done {
			t.Errorf("announced under a consent that is over: %t, %v", done, err)
		}
	})
}

// Blocks are counted by day, of the consent's usage points and registers alone.
func TestStoredDays(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		w, b := newWriter(1), batch("one")
		export := w.block("h1", "p1", day0)
		export.Register = meter.ActiveExport
		b.Blocks = []seal.Block{w.block("h1", "p1", day0), w.block("h1", "p1", day0), w.block("h1", "p2", day0), w.block("h1", "p1", day0+2), w.block("h2", "p1", day0), export}
		stored(t, s, b)
		for _, c := range []struct {
			points      []meter.UsagePoint
			registers   []meter.Register
			first, last meter.Day
			want        []notify.DayCount
		}{
			{[]meter.UsagePoint{"p1"}, nil, day0, day0 + 2, []notify.DayCount{{Day: day0, Blocks: 3}, {Day: day0 + 2, Blocks: 1}}},
			{[]meter.UsagePoint{"p1"}, []meter.Register{meter.ActiveImport}, day0, day0 + 1, []notify.DayCount{{Day: day0, Blocks: 2}}},
			{[]meter.UsagePoint{"p1", "p2"}, nil, day0, day0, []notify.DayCount{{Day: day0, Blocks: 4}}},
			{[]meter.UsagePoint{"p3"}, nil, day0, day0 + 2, nil},
		} {
			got, err := s.StoredDays(t.Context(), "h1", c.points, c.registers, c.first, c.last)
			must(t, err)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("%v, %v (-want +got):\n%s", c.points, c.registers, d)
			}
		}
	})
}

// Recipients are looked at once in a time, whoever looks.
func TestClaimSweeps(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		endpointOf(t, s, "a")
		endpointOf(t, s, "b")
		sweep := func(before, now int64, want ...notify.Swept) {
			t.Helper()
			got, err := s.ClaimSweeps(t.Context(), before, now, 10)
			must(t, err)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("at %d (-want +got):\n%s", now, d)
			}
		}
		sweep(0, 100, notify.Swept{Recipient: "a"}, notify.Swept{Recipient: "b"})
		sweep(99, 399)
		must(t, s.RemoveEndpoint(t.Context(), "b"))
		sweep(100, 400, notify.Swept{Recipient: "a", At: 100})
	})
}

// What is old is forgotten, and who would go on from it is told so instead of being told
// too little. So is who has a number that was never given, as after a restore.
func TestPrune(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		endpointOf(t, s, "r")
		putConsents(t, s, agreedTo("a"), agreedTo("b"), agreedTo("c"))
		for seq, at := range []int64{1: 10, 2: 20, 3: 30} {
			do(t, s, func(ctx context.Context, tx *store.Tx) error {
				return tx.Exec(ctx, `UPDATE notifications SET created_s = $1 WHERE seq = $2`, at, seq)
			})
		}
		for _, c := range []struct {
			before int64
			limit  int
			want   int
		}{{10, 10, 0}, {25, 1, 1}, {25, 10, 1}, {25, 10, 0}} {
			if n, err := s.Prune(ctx, "r", c.before, c.limit); err != nil || n != c.want {
				t.Errorf("before %d, at most %d: %d forgotten, %v; want %d", c.before, c.limit, n, err, c.want)
			}
		}
		for since, want := range map[uint64]error{0: nil, 1: store.ErrCursor, 2: nil, 3: nil, 4: store.ErrCursor} {
			if _, err := s.ListNotifications(ctx, "r", since, 10); !errors.Is(err, want) {
				t.Errorf("going on from %d: %v, want %v", since, err, want)
			}
		}
	})
}

// Third parties are told that a household was erased, each of its own consents, and nothing
// else is kept of them: no notification, and no mark.
func TestToldOfErasure(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		town(t, s)
		must(t, s.CreateHouseholds(ctx, []store.NewHousehold{family("h1", 0, "p1"), family("h2", 0, "p2")}))
		endpointOf(t, s, "r")
		denied, theirs := agreedTo("denied"), agreedTo("theirs")
		denied.State, theirs.Household = consent.Denied, "h2"
		silent := agreedTo("silent")
		silent.Recipient = "no endpoint"
		putConsents(t, s, agreedTo("c"), denied, theirs, silent)
		if done, err := s.Announce(ctx, notify.Announcement{Recipient: "r", Consent: "c", Spans: []notify.Span{{From: 0, Until: 86400}}, At: 7}); err != nil || !done {
			t.Fatalf("announced %t, %v", done, err)
		}
		do(t, s, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.EraseHousehold(ctx, "h1", 10)
			return err
		})
		got := map[consent.ID][]notify.Kind{}
		for _, e := range listed(t, s) {
			got[e.Consent] = append(got[e.Consent], e.Kind)
		}
		if d := cmp.Diff(map[consent.ID][]notify.Kind{"c": {notify.ConsentErased}, "theirs": {"consent.granted"}}, got); d != "" {
			t.Errorf("after the erasure (-want +got):\n%s", d)
		}
		var marks int
		must(t, s.QueryRow(ctx, `SELECT count(*) FROM notify_marks`, nil, &marks))
		if marks != 0 {
			t.Errorf("%d marks of the erased household", marks)
		}
		if es := claim(t, s, 1, 10, false); len(es) != 1 {
			t.Error("nobody is called about an erasure")
		}
	})
}

// Generations of the key that signs come once, with their seed, and withdraw those before
// them if they shall.
func TestNotifyKeys(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		key := func(generation uint32, at int64, seed string, withdraw bool) store.NewNotifyKey {
			return store.NewNotifyKey{
				NotifyKey: store.NotifyKey{Generation: generation, CreatedAt: at, SignsAt: at + 1}, Wrapped: []byte(seed), Key: "hub", KeyVersion: 1, Withdraw: withdraw,
			}
		}
		must(t, s.PutNotifyKey(ctx, key(1, 10, "one", false)))
		must(t, s.PutNotifyKey(ctx, key(1, 20, "late", false)))
		must(t, s.PutNotifyKey(ctx, key(2, 30, "two", true)))
		all, err := s.NotifyKeys(ctx)
		must(t, err)
		want := []store.NotifyKey{{Generation: 1, CreatedAt: 10, SignsAt: 11, WithdrawnAt: 30}, {Generation: 2, CreatedAt: 30, SignsAt: 31}}
		if d := cmp.Diff(want, all); d != "" {
			t.Errorf("generations (-want +got):\n%s", d)
		}
		for generation, want := range map[uint32]string{1: "one", 2: "two"} {
			if seed, err := s.HubSecretOf(ctx, store.NotifySecret, generation); err != nil || string(seed) != want {
				t.Errorf("seed %d: %q, %v", generation, seed, err)
			}
		}
	})
}
