package server

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// A letter's code opens one session, once, however it is typed; a new letter ends
// the codes before it. Every code that does not open gets one answer, whatever is
// wrong with it.
func TestLetterCodes(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		ctx := t.Context()
		open := func(code string) error {
			_, err := w.public().OpenSession(ctx, &wattveilv1.OpenSessionRequest{LetterCode: code})
			return err
		}
		issue := func() string {
			got, err := w.operator.IssueLetterCode(ctx, &wattveilv1.IssueLetterCodeRequest{Household: w.homes[home].GetHousehold()})
			ok(t, err)
			return got.GetLetterCode()
		}
		used := w.homes[nextDoor].GetLetterCode()
		ok(t, open(used))
		ended := w.homes[home].GetLetterCode()
		before, good := issue(), issue()
		last := byte('0')
		if good[len(good)-1] == '0' {
			last = '1'
		}
		for what, code := range map[string]string{
			"used": used, "ended by a new letter": ended, "ended by the next": before, "unknown": good[:len(good)-1] + string(last), "nothing": "",
			"too short": good[:10], "too long": good + "0", "no code at all": "please", "absurd": strings.Repeat("0", 1<<16), "not a letter": "ÄÄÄÄ-ÄÄÄÄ-ÄÄÄÄ",
		} {
			t.Run(what, func(t *testing.T) { refused(t, open(code), codes.PermissionDenied, "code_not_valid") })
		}
		typed := strings.NewReplacer("-", " ", "0", "o", "1", "l").Replace(strings.ToLower(good))
		if err := open(" " + typed + " "); err != nil {
			t.Errorf("as a person types it: %v", err)
		}
		refused(t, open(good), codes.PermissionDenied, "code_not_valid")
	})
}

// Two people with one letter: one of them gets in.
func TestLetterCodeOpensOnce(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		const people = 8
		results := make(chan error, people)
		for range people {
			go func() {
				_, err := w.public().OpenSession(t.Context(), &wattveilv1.OpenSessionRequest{LetterCode: w.homes[home].GetLetterCode()})
				results <- err
			}()
		}
		in := 0
		for range people {
			if err := <-results; err == nil {
				in++
			} else {
				refused(t, err, codes.PermissionDenied, "code_not_valid")
			}
		}
		if in != 1 {
			t.Errorf("%d sessions from one code", in)
		}
	})
}

// A session ends when it is closed and when its time is up, at once and for every
// call; closing one leaves the household's others.
func TestSessionEnds(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		ctx := t.Context()
		a, token := w.signIn(w.homes[home])
		b, _ := w.signIn(w.homes[home])
		who := func(c *client) error {
			got, err := c.GetHousehold(ctx, &wattveilv1.GetHouseholdRequest{})
			if err == nil && (got.GetHousehold() != w.homes[home].GetHousehold() || len(got.GetOccupancies()) != 2) {
				t.Errorf("the session is of %v", got)
			}
			return err
		}
		ok(t, who(a))
		_, err := a.CloseSession(ctx, &wattveilv1.CloseSessionRequest{})
		ok(t, err)
		refused(t, who(a), codes.Unauthenticated, "session_ended")
		_, err = a.ReadOwnSeries(ctx, &wattveilv1.ReadOwnSeriesRequest{From: yesterday.Unix(), Until: morning.Unix()})
		refused(t, err, codes.Unauthenticated, "session_ended")
		ok(t, who(b))
		w.restart()
		refused(t, who(w.bearing(token)), codes.Unauthenticated, "session_ended")
		b, _ = w.signIn(w.homes[home])
		w.clock.add(sessionLength - time.Second)
		ok(t, who(b))
		w.clock.add(time.Second)
		refused(t, who(b), codes.Unauthenticated, "session_ended")
	})
}

// Guessing is bounded for all together, before a code is looked at: the right one
// would not get in either. A minute later it does.
func TestGuessing(t *testing.T) {
	w := newTown(t, onSQLite(t))
	open := func(code string) error {
		_, err := w.public().OpenSession(t.Context(), &wattveilv1.OpenSessionRequest{LetterCode: code})
		return err
	}
	for i := range 60 {
		refused(t, open(fmt.Sprintf("0000-0000-00%02d", i)), codes.PermissionDenied, "code_not_valid")
	}
	refused(t, open(w.homes[home].GetLetterCode()), codes.ResourceExhausted, "too_many_attempts")
	w.clock.add(time.Second)
	ok(t, open(w.homes[home].GetLetterCode()))
	refused(t, open("0000-0000-0000"), codes.ResourceExhausted, "too_many_attempts")
}

// Codes are of 60 random bits in an alphabet without look-alikes, and two hubs
// hash one code differently: a copied table of one is of no use at another.
func TestLetterCodeForm(t *testing.T) {
	here, there := letterCodes{key: hide([]byte("here"))}, letterCodes{key: hide([]byte("there"))}
	seen := map[string]bool{}
	for range 200 {
		code, hash, err := here.draw(rand.Reader)
		ok(t, err)
		if seen[code] || len(code) != 14 || strings.Trim(code, crockford+"-") != "" || strings.ContainsAny(code, "ILOU") {
			t.Fatalf("code of %d characters", len(code))
		}
		seen[code] = true
		if again, valid := here.hash(code); !valid || again != hash {
			t.Error("a code does not hash to its hash")
		}
		if other, _ := there.hash(code); other == hash {
			t.Error("the hash does not depend on the hub's key")
		}
	}
	if _, _, err := here.draw(strings.NewReader("short")); err == nil {
		t.Error("a code from 5 bytes")
	}
}

// What people type: nothing crashes it, and whatever is accepted hashes as its
// canonical form does.
func FuzzLetterCode(f *testing.F) {
	for _, s := range []string{"", "7K2M-9QXA-03TZ", "7k2m 9qxa o3tz", "IL0O-IL0O-IL0O", "ſſſſ-0000-0000", "7K2M-9QXA-03TU", "\xff"} {
		f.Add(s)
	}
	l := letterCodes{key: hide([]byte("key"))}
	f.Fuzz(func(t *testing.T, s string) {
		h, valid := l.hash(s)
		if !valid {
			return
		}
		clean := strings.NewReplacer("-", "", " ", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(s))
		if again, valid := l.hash(clean); !valid || again != h || len(clean) != letterCodeLength {
			t.Errorf("accepted as %d characters", len(clean))
		}
	})
}
