package server

import (
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// Each refused interval comes back by usage point, register, start and reason, and
// the rest is stored. It catches a refusal that takes its neighbours along, and
// one that nobody is told of.
func TestRefusalsByInterval(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		noon := yesterday.Add(12 * time.Hour)
		mixed := series(home, noon, 100, -1, 17_251, 17_250, 0)
		mixed.Qualities = []byte{0, 0, 0, 1, 9}
		missing := series(nextDoor, noon, 5, -3, 7) // what is missing states nothing
		missing.Qualities = []byte{0, byte(meter.Missing), 0}
		future := series(secondMeter, morning.Add(-15*time.Minute), 1, 2)
		badLength := series(home, noon, 1, 2)
		badLength.LengthSeconds = 901
		lost := series("no-such-point", noon, 1, 2, 3)
		lost.Qualities = []byte{0, byte(meter.Missing), 0}
		badRegister := series(home, noon, 1)
		badRegister.Register = "energy"
		answer := w.send(w.utility, batch("b-1", mixed, missing, future, badLength, lost, badRegister,
			series(home, noon.Add(time.Minute), 1), series(farAway, noon, 1), series(empty, noon, 4, 4)))
		got := map[string]string{}
		for _, r := range answer.GetRefusals() {
			at := fmt.Sprintf("%s %s %d", r.GetUsagePoint(), r.GetRegister(), (r.GetStart()-noon.Unix())/60)
			got[at] += r.GetReason()
		}
		in := func(point string, minute int) string { return fmt.Sprintf("%s %s %d", point, energyIn, minute) }
		ahead := int(morning.Sub(noon) / time.Minute)
		want := map[string]string{
			in(home, 15): "negative_delivered", in(home, 30): "above_physical_cap", in(home, 60): "bad_quality",
			in(secondMeter, ahead): "future",
			// Its first interval has the same start as the first of what was stored.
			in(home, 0): "bad_interval_length", fmt.Sprintf("%s %s %d", home, energyIn, 15): "negative_delivered" + "bad_interval_length",
			in("no-such-point", 0): "unknown_usage_point", in("no-such-point", 30): "unknown_usage_point",
			home + " energy 0": "unknown_register",
			in(home, 1):        "misaligned_start",
			in(farAway, 0):     "unknown_usage_point", // another utility's
			in(empty, 0):       "no_household", in(empty, 15): "no_household",
		}
		if !maps.Equal(got, want) {
			t.Errorf("refused %v\nwant    %v", got, want)
		}
		if answer.GetAccepted() != 2+2+1 {
			t.Errorf("accepted %d", answer.GetAccepted())
		}
		c, _ := w.signIn(w.homes[home])
		if own := w.own(c, home, noon, noon.Add(2*time.Hour)); !maps.Equal(own, map[int64]int64{noon.Unix(): 100, noon.Unix() + 2700: 17_250}) {
			t.Errorf("stored %v", own)
		}
		if n := w.slots(w.otherUtility, farAway); n != 0 {
			t.Errorf("%d slots of another utility's usage point", n)
		}
	})
}

// A utility or third party that a certificate names and nobody has registered is
// turned away, over gRPC and over REST. It catches readings, and requests to
// households, from somebody whom the authority signed for and the operator does
// not know.
func TestUnregisteredCallers(t *testing.T) {
	w := newTown(t, onSQLite(t))
	stream, err := w.as("utility", "stranger").Submit(t.Context())
	ok(t, err)
	_ = stream.Send(batch("b-1", day(home, yesterday, 1))) // the answer comes to Recv
	_, err = stream.Recv()
	refused(t, err, codes.Unauthenticated, "unknown_certificate")
	_, err = w.as("recipient", "stranger").RequestConsent(t.Context(), &wattveilv1.RequestConsentRequest{RequestId: "r-1", UsagePoint: home})
	refused(t, err, codes.Unauthenticated, "unknown_certificate")
	if n := w.slots(w.utility, home); n != 0 {
		t.Errorf("%d slots", n)
	}
}

// A name that is not well formed goes back short. It catches an answer that is
// larger than memory: a long name, once for each of many intervals.
func TestRefusalsDoNotEchoMuch(t *testing.T) {
	w := newTown(t, onSQLite(t))
	long := series(strings.Repeat("ä", 100_000), yesterday, make([]int64, 1000)...)
	register := series(home, yesterday, make([]int64, 1000)...)
	register.Register = strings.Repeat("1", 100_000)
	answer := w.send(w.utility, batch("b-1", long, register))
	if n := len(answer.GetRefusals()); n != 2000 || answer.GetAccepted() != 0 {
		t.Fatalf("%d refusals", n)
	}
	for _, r := range answer.GetRefusals() {
		if len(r.GetUsagePoint()) > meter.MaxIdentifier || len(r.GetRegister()) > meter.MaxIdentifier {
			t.Fatal("a name of that length came back")
		}
	}
}

// An interval belongs to whoever lives there at its start: before anyone has
// moved in and between two households there is nobody to seal it to, and each
// household reads exactly its own, to the second.
func TestOccupancy(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		at := func(h, m int) time.Time {
			return yesterday.Add(time.Duration(h)*time.Hour + time.Duration(m)*time.Minute)
		}
		first := w.moveIn(at(1, 0), empty)
		w.moveOut(first.GetHousehold(), at(9, 10)) // the interval from 9:00 is still theirs
		second := w.moveIn(at(11, 0), empty)
		answer := w.send(w.utility, batch("b-1", day(empty, yesterday, 0)))
		if answer.GetAccepted() != 96-4-7 || !maps.Equal(reasons(answer), map[string]int{"no_household": 4 + 7}) {
			t.Fatalf("accepted %d, refused %v", answer.GetAccepted(), reasons(answer))
		}
		for _, r := range answer.GetRefusals() {
			if s := time.Unix(r.GetStart(), 0); !s.Before(at(1, 0)) && s.Before(at(9, 15)) || !s.Before(at(11, 0)) {
				t.Errorf("refused the interval of %s", s.UTC())
			}
		}
		for h, span := range map[*wattveilv1.CreatedHousehold][2]int{first: {4, 37}, second: {44, 96}} {
			want := map[int64]int64{}
			for i := span[0]; i < span[1]; i++ {
				want[yesterday.Unix()+int64(i)*900] = int64(i)
			}
			c, _ := w.signIn(h)
			if got := w.own(c, empty, yesterday.AddDate(0, 0, -1), morning); !maps.Equal(got, want) {
				t.Errorf("a household reads %v, want %v", got, want)
			}
		}
	})
}

// A batch that states an interval twice: alike, it is acknowledged as often as it
// was sent and stored once; otherwise the second is refused.
func TestConflictInsideABatch(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		answer := w.send(w.utility, batch("b-1",
			series(home, yesterday, 1, 2, 3), series(home, yesterday, 1, 2, 4), revised(1, series(home, yesterday.Add(15*time.Minute), 20))))
		if answer.GetAccepted() != 3+2+1 || !maps.Equal(reasons(answer), map[string]int{"conflicting_revision": 1}) {
			t.Errorf("accepted %d, refused %v", answer.GetAccepted(), reasons(answer))
		}
		c, _ := w.signIn(w.homes[home])
		if got := w.own(c, home, yesterday, morning); !maps.Equal(got, map[int64]int64{yesterday.Unix(): 1, yesterday.Unix() + 900: 20, yesterday.Unix() + 1800: 3}) {
			t.Errorf("stored %v", got)
		}
	})
}

// Across batches the higher revision wins, whatever the order; at equal revision
// the first accepted stays, and the utility is told on which usage point and day,
// once somebody has opened it.
func TestRevisionsAcrossBatches(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		before := yesterday.AddDate(0, 0, -1)
		w.keep(batch("b-1", series(home, yesterday, 10, 20, 30)))
		w.keep(batch("b-2", revised(2, series(home, yesterday, 12))))
		w.keep(batch("b-3", revised(1, series(home, yesterday, 11, 21))))
		w.keep(batch("b-4", series(home, yesterday, 99, 99, 30)))     // overtaken, overtaken, alike
		w.keep(batch("b-5", revised(1, series(home, yesterday, 11)))) // overtaken
		w.keep(batch("b-6", series(secondMeter, before, 5, 6)))
		w.keep(batch("b-7", series(secondMeter, before, 7, 8)))           // twice against b-6
		w.keep(batch("b-8", revised(1, series(home, yesterday, 11, 22)))) // once against b-3
		c, _ := w.signIn(w.homes[home])
		if got := w.own(c, home, before, morning); !maps.Equal(got, map[int64]int64{yesterday.Unix(): 12, yesterday.Unix() + 900: 21, yesterday.Unix() + 1800: 30}) {
			t.Errorf("read %v", got)
		}
		if got := w.own(c, secondMeter, before, morning); !maps.Equal(got, map[int64]int64{before.Unix(): 5, before.Unix() + 900: 6}) {
			t.Errorf("read %v", got)
		}
		// Read together once more: a conflict is reported where it is, not where the reading began.
		_, err := c.ReadOwnSeries(t.Context(), &wattveilv1.ReadOwnSeriesRequest{From: before.Unix(), Until: morning.Unix()})
		ok(t, err)
		told, err := w.utility.Completeness(t.Context(), &wattveilv1.CompletenessRequest{
			UsagePoints: []string{home, secondMeter, nextDoor}, FromDay: meter.DayOf(before.Unix()).String(), ToDay: meter.DayOf(morning.Unix()).String(),
		})
		ok(t, err)
		got := map[string]uint32{}
		for _, x := range told.GetConflicts() {
			got[x.GetUsagePoint()+" "+x.GetDay()] = x.GetIntervals()
		}
		want := map[string]uint32{home + " " + meter.DayOf(yesterday.Unix()).String(): 1, secondMeter + " " + meter.DayOf(before.Unix()).String(): 2}
		if !maps.Equal(got, want) {
			t.Errorf("conflicts %v, want %v", got, want)
		}
		told, err = w.otherUtility.Completeness(t.Context(), &wattveilv1.CompletenessRequest{
			UsagePoints: []string{home, secondMeter}, FromDay: meter.DayOf(before.Unix()).String(), ToDay: meter.DayOf(morning.Unix()).String(),
		})
		ok(t, err)
		if len(told.GetConflicts())+len(told.GetDays()) != 0 {
			t.Error("another utility is told")
		}
	})
}

// A batch that comes again is acknowledged again and stored once, after a restart
// too; another utility's batch of the same name is another batch; the same name
// with other content is refused whole.
func TestDuplicateBatch(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		once := func() *wattveilv1.SubmitRequest {
			return batch("b-1", series(home, yesterday, 1, 2, -3), series(secondMeter, yesterday, 4))
		}
		first := w.send(w.utility, once())
		if first.GetDuplicate() || first.GetAccepted() != 3 {
			t.Fatalf("first answer %v", first)
		}
		w.restart()
		again := w.send(w.utility, once())
		if !again.GetDuplicate() || again.GetAccepted() != first.GetAccepted() || !maps.Equal(reasons(again), reasons(first)) {
			t.Errorf("second answer: accepted %d, duplicate %t", again.GetAccepted(), again.GetDuplicate())
		}
		if n := w.slots(w.utility, home); n != 3 {
			t.Errorf("%d slots stored, want the 3 of one block", n)
		}
		if other := w.send(w.otherUtility, batch("b-1", series(farAway, yesterday, 7))); other.GetDuplicate() || other.GetErrorReason() != "" {
			t.Errorf("another utility's batch: %v", other)
		}
		for what, b := range map[string]*wattveilv1.SubmitRequest{
			"another value":   batch("b-1", series(home, yesterday, 1, 3, -3), series(secondMeter, yesterday, 4)),
			"another order":   batch("b-1", series(secondMeter, yesterday, 4), series(home, yesterday, 1, 2, -3)),
			"less":            batch("b-1", series(home, yesterday, 1, 2, -3)),
			"another revison": batch("b-1", revised(1, series(home, yesterday, 1, 2, -3)), series(secondMeter, yesterday, 4)),
			"nothing":         batch("b-1"),
		} {
			if a := w.send(w.utility, b); a.GetErrorReason() != "batch_content_differs" || a.GetAccepted() != 0 || a.GetDuplicate() {
				t.Errorf("%s: accepted %d, duplicate %t, error %q", what, a.GetAccepted(), a.GetDuplicate(), a.GetErrorReason())
			}
		}
		if n := w.slots(w.utility, home) + w.slots(w.utility, secondMeter); n != 4 {
			t.Errorf("%d slots stored", n)
		}
	})
}

// A batch whose readings were refused, for want of a household, and that comes
// again when there is one. Its repetition would not be stored: to acknowledge it
// would lose the readings without a word.
func TestRepetitionIsNotAcknowledgedForMore(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		b := batch("b-1", series(empty, yesterday, 1, 2))
		if a := w.send(w.utility, b); a.GetAccepted() != 0 || reasons(a)["no_household"] != 2 {
			t.Fatalf("accepted %d", a.GetAccepted())
		}
		h := w.moveIn(yesterday, empty)
		if a := w.send(w.utility, b); a.GetErrorReason() != "batch_answer_differs" || a.GetAccepted() != 0 {
			t.Errorf("accepted %d, error %q", a.GetAccepted(), a.GetErrorReason())
		}
		w.keep(batch("b-2", b.GetSeries()...))
		c, _ := w.signIn(h)
		if got := w.own(c, empty, yesterday, morning); len(got) != 2 {
			t.Errorf("stored %v", got)
		}
	})
}

// The order in which batches arrive does not matter, and neither does on how many
// streams: many send the same batches side by side, each in an order of its own.
func TestManyStreams(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		const batches, streams = 12, 6
		all := make([]*wattveilv1.SubmitRequest, batches)
		for i := range all {
			all[i] = batch(fmt.Sprintf("b-%d", i), day(home, yesterday.AddDate(0, 0, -i), int64(i)*1000), day(nextDoor, yesterday.AddDate(0, 0, -i), 7))
		}
		type result struct {
			answers map[string]*wattveilv1.SubmitResponse
			err     error
		}
		results := make(chan result, streams)
		for n := range streams {
			mine := make([]*wattveilv1.SubmitRequest, 0, batches)
			for i := range batches {
				mine = append(mine, all[(i*5+n*2)%batches])
			}
			c := w.as("utility", utility)
			go func() {
				answers, err := submit(t.Context(), c, mine...)
				results <- result{answers, err}
			}()
		}
		stored := map[string]int{}
		for range streams {
			r := <-results
			ok(t, r.err)
			if len(r.answers) != batches {
				t.Errorf("%d answers to %d batches", len(r.answers), batches)
			}
			for id, a := range r.answers {
				if a.GetAccepted() != 192 || a.GetErrorReason() != "" {
					t.Errorf("%s: accepted %d, error %q", id, a.GetAccepted(), a.GetErrorReason())
				}
				if !a.GetDuplicate() {
					stored[id]++
				}
			}
		}
		for _, b := range all {
			if stored[b.GetBatchId()] != 1 {
				t.Errorf("%s was stored %d times", b.GetBatchId(), stored[b.GetBatchId()])
			}
		}
		if n := w.slots(w.utility, home); n != batches*96 {
			t.Errorf("%d slots, want %d", n, batches*96)
		}
		c, _ := w.signIn(w.homes[home])
		got := w.own(c, home, movedIn, morning)
		for i := range batches {
			if at := yesterday.AddDate(0, 0, -i).Unix(); got[at+95*900] != int64(i)*1000+95 {
				t.Errorf("day %d: %d", i, got[at+95*900])
			}
		}
	})
}

// What a batch may hold. Beyond it the batch is refused whole, by name, and the
// stream goes on.
func TestBatchLimits(t *testing.T) {
	w := newTown(t, onSQLite(t))
	tooMany := make([]*wattveilv1.Series, maxSeriesPerBatch+1)
	for i := range tooMany {
		tooMany[i] = series(home, yesterday)
	}
	tooLong := series(home, yesterday, make([]int64, maxIntervalsPerBatch+1)...)
	answers, err := submit(t.Context(), w.utility,
		batch("many", tooMany...), batch("long", tooLong), batch(""), batch("a/b"), batch("good", series(home, yesterday, 1)))
	ok(t, err)
	for id, reason := range map[string]string{"many": "batch_too_large", "long": "batch_too_large", "": "bad_batch_id", "a/b": "bad_batch_id", "good": ""} {
		if a := answers[id]; a.GetErrorReason() != reason || a.GetAccepted() != uint64(map[bool]int{true: 1}[reason == ""]) {
			t.Errorf("%q: accepted %d, error %q", id, a.GetAccepted(), a.GetErrorReason())
		}
	}
}

// Registers and values at the edges of what can be sealed, sealed and read back:
// counters of any size, signed power, days as one interval.
func TestExtremeValues(t *testing.T) {
	w := newTown(t, onSQLite(t))
	counter := series(home, yesterday, 0, math.MaxInt64, 1)
	counter.Register = "1-0:1.8.0*255"
	power := series(home, yesterday, -69_000, 69_000, 0)
	power.Register = "1-0:16.7.0*255"
	whole := &wattveilv1.Series{UsagePoint: home, Register: energyOut, Start: yesterday.Unix(), LengthSeconds: 86400, Values: []int64{69_000 * 24}}
	w.keep(batch("b-1", counter, power, whole))
	c, _ := w.signIn(w.homes[home])
	got, err := c.ReadOwnSeries(t.Context(), &wattveilv1.ReadOwnSeriesRequest{From: yesterday.Unix(), Until: morning.Unix()})
	ok(t, err)
	want := map[string][]int64{counter.Register: counter.Values, power.Register: power.Values, energyOut: whole.Values}
	for _, s := range got.GetSeries() {
		if fmt.Sprint(s.GetValues()) != fmt.Sprint(want[s.GetRegister()]) {
			t.Errorf("%s: %v, want %v", s.GetRegister(), s.GetValues(), want[s.GetRegister()])
		}
		delete(want, s.GetRegister())
	}
	if len(want) != 0 {
		t.Errorf("not read: %v", want)
	}
}
