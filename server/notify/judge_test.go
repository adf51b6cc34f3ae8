package notify

import (
	"bytes"
	"crypto/rand"
	"slices"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
)

// zeros and ones are the two ends of chance.
type constant byte

func (c constant) Read(b []byte) (int, error) {
	copy(b, bytes.Repeat([]byte{byte(c)}, len(b)))
	return len(b), nil
}

// What goes into one call: everything to who is well, one thing to who fails, what was
// refused by itself; and nothing before what came earlier of the same consent.
func TestPick(t *testing.T) {
	ev := func(seq uint64, of consent.ID, attempts int) Event {
		return Event{Seq: seq, Consent: of, Attempts: attempts}
	}
	var many []Event
	for i := range maxBatch + 5 {
		many = append(many, ev(uint64(i+1), "a", 0))
	}
	all := make([]uint64, maxBatch)
	for i := range all {
		all[i] = uint64(i + 1)
	}
	for what, c := range map[string]struct {
		failing bool
		due     []Event
		want    []uint64
	}{
		"nothing":                        {false, nil, nil},
		"all that is new":                {false, []Event{ev(1, "a", 0), ev(2, "b", 0), ev(3, "a", 0)}, []uint64{1, 2, 3}},
		"not what was refused":           {false, []Event{ev(1, "a", 2), ev(2, "b", 0)}, []uint64{2}},
		"not what comes after it":        {false, []Event{ev(1, "a", 1), ev(2, "a", 0), ev(3, "b", 0)}, []uint64{3}},
		"what was refused, alone":        {false, []Event{ev(1, "a", 3), ev(2, "a", 0), ev(3, "b", 1), ev(4, "c", 2)}, []uint64{3}},
		"as much as one call takes":      {false, many, all},
		"one to who fails":               {true, []Event{ev(1, "a", 0), ev(2, "b", 0)}, []uint64{1}},
		"another to who fails":           {true, []Event{ev(1, "a", 1), ev(2, "a", 0), ev(3, "b", 0)}, []uint64{3}},
		"the least refused to who fails": {true, []Event{ev(1, "a", 2), ev(2, "b", 1), ev(3, "c", 1)}, []uint64{2}},
	} {
		var got []uint64
		for _, e := range pick(c.failing, c.due) {
			got = append(got, e.Seq)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
}

// Waits double, up to an hour, less at most half; without chance they are the longest.
func TestWait(t *testing.T) {
	for failures, want := range map[int]time.Duration{1: 5 * time.Second, 2: 10 * time.Second, 5: 80 * time.Second, 10: 2560 * time.Second, 11: time.Hour, 1000: time.Hour} {
		if d := wait(failures, constant(0)); d != want {
			t.Errorf("after %d: %s, want %s", failures, d, want)
		}
		if d := wait(failures, bytes.NewReader(nil)); d != want {
			t.Errorf("after %d without chance: %s, want %s", failures, d, want)
		}
		for range 20 {
			if d := wait(failures, rand.Reader); d > want || d <= want/2 {
				t.Errorf("after %d: %s, not in the upper half of %s", failures, d, want)
			}
		}
	}
}

// What each answer means: for the endpoint, and for what was sent.
func TestJudge(t *testing.T) {
	d := NewDeliverer(Config{Random: constant(0), GiveUp: 1000 * time.Second})
	batch := []Event{{Seq: 1, Consent: "a", State: Waiting}, {Seq: 2, Consent: "b", State: Waiting}}
	failing := Endpoint{State: Active, Failures: 2, FailingSince: 50}
	const now = 100
	answer := func(status int) Answer {
		a := Answer{Status: status, Problem: StatusProblem}
		if status/100 == 2 {
			a.Problem = NoProblem
		}
		return a
	}
	for _, status := range []int{200, 201, 202, 204} {
		s := d.judge(failing, batch, answer(status), now)
		if !slices.Equal(s.Taken, []uint64{1, 2}) || s.Endpoint.Failures != 0 || s.Endpoint.FailingSince != 0 || s.Endpoint.TakenAt != now || s.Due != 0 {
			t.Errorf("%d is not taken: %+v", status, s)
		}
	}
	for _, status := range []int{0, 408, 410, 425, 429, 502, 503, 504} {
		s := d.judge(Endpoint{State: Active}, batch, answer(status), now)
		if len(s.Taken)+len(s.Refused) != 0 || s.Endpoint.Failures != 1 || s.Endpoint.FailingSince != now || s.Due != now+5 || s.Endpoint.TakenAt != 0 {
			t.Errorf("%d is not trouble of the receiver alone: %+v", status, s)
		}
		if want := map[bool]State{true: Gone, false: Active}[status == 410]; s.Endpoint.State != want {
			t.Errorf("after %d the endpoint is in state %d", status, s.Endpoint.State)
		}
	}
	for _, status := range []int{301, 302, 307, 308, 400, 401, 403, 404, 405, 413, 500, 501} {
		s := d.judge(failing, batch, answer(status), now)
		if len(s.Refused) != 2 || s.Refused[0].Attempts != 1 || s.Refused[0].Due != now+5 || s.Refused[0].TriedAt != now || s.Refused[0].State != Waiting || s.Endpoint.Failures != 3 || s.Endpoint.FailingSince != 50 {
			t.Errorf("%d is not a refusal: %+v", status, s)
		}
	}
	patient := answer(503)
	patient.RetryAfter = 20 * time.Minute
	if s := d.judge(Endpoint{}, batch, patient, now); s.Due != now+1200 {
		t.Errorf("called again at %d, not when it was asked for", s.Due)
	}
	patient.RetryAfter = 1000 * time.Hour
	if s := d.judge(Endpoint{}, batch, patient, now); s.Due != now+3600 {
		t.Errorf("called again at %d: nobody may put it off so long", s.Due)
	}
	if s := d.judge(failing, batch, answer(503), 1049); s.Endpoint.State != Active {
		t.Error("given up too soon")
	}
	if s := d.judge(failing, batch, answer(503), 1050); s.Endpoint.State != GivenUp {
		t.Error("not given up")
	}
	old := []Event{{Seq: 1, TriedAt: 10, Attempts: 9, State: Waiting}}
	if s := d.judge(Endpoint{}, old, answer(404), 1010); s.Refused[0].State != Dropped || s.Refused[0].Attempts != 10 || s.Endpoint.State != 0 {
		t.Errorf("what is refused for so long is not dropped: %+v", s)
	}
}
