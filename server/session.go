package server

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// sessionLength is how long a household's session lasts unless it is closed. A
// letter's code opens one: a shorter one would mean a letter a day.
const sessionLength = 30 * 24 * time.Hour

// sessionService implements SessionService.
type sessionService struct {
	wattveilv1.UnimplementedSessionServiceServer
	store     *store.Store
	sequencer *ledger.Sequencer[*store.Tx]
	eraser    *eraser
	erasure   ErasureConfig
	codes     letterCodes
	clock     Clock
	random    io.Reader
	// tries bounds guessing: one bucket for everybody, because an attacker has
	// many addresses and a hub has few sign-ups a second.
	tries *bucket
}

// OpenSession trades a letter code for a session. The code is spent and the
// session stored in one transaction; unknown, used and ended codes get one
// answer.
func (s *sessionService) OpenSession(ctx context.Context, req *wattveilv1.OpenSessionRequest) (*wattveilv1.OpenSessionResponse, error) {
	if !s.tries.take(s.clock()) {
		return nil, &inputError{codes.ResourceExhausted, "too_many_attempts", "too many attempts; try again in a minute"}
	}
	noSuchCode := &inputError{codes.PermissionDenied, "code_not_valid", "this code is not valid"}
	hash, ok := s.codes.hash(req.GetLetterCode())
	if !ok {
		return nil, noSuchCode
	}
	var raw [32]byte
	if _, err := io.ReadFull(s.random, raw[:]); err != nil {
		return nil, fmt.Errorf("drawing session token: %w", err)
	}
	token := base64.RawURLEncoding.EncodeToString(raw[:])
	now := s.clock()
	expires := now.Add(sessionLength).Unix()
	opened, err := s.store.OpenSession(ctx, hash, tokenHash(token), now.Unix(), expires)
	if err != nil {
		return nil, err
	}
	if !opened {
		return nil, noSuchCode
	}
	return &wattveilv1.OpenSessionResponse{Token: token, ExpiresAt: expires}, nil
}

// CloseSession ends the calling session.
func (s *sessionService) CloseSession(ctx context.Context, _ *wattveilv1.CloseSessionRequest) (*wattveilv1.CloseSessionResponse, error) {
	if err := s.store.CloseSession(ctx, caller(ctx).Session, s.clock().Unix()); err != nil {
		return nil, err
	}
	return &wattveilv1.CloseSessionResponse{}, nil
}

// GetHousehold describes the calling household.
func (s *sessionService) GetHousehold(ctx context.Context, _ *wattveilv1.GetHouseholdRequest) (*wattveilv1.GetHouseholdResponse, error) {
	h := caller(ctx).Household()
	occupancies, err := s.store.Occupancies(ctx, h)
	if err != nil {
		return nil, err
	}
	resp := &wattveilv1.GetHouseholdResponse{Household: string(h), Erasure: &wattveilv1.ErasureTerms{
		KeysSeconds:    int64((s.erasure.RotateEvery + s.erasure.RetireAfter + s.erasure.KeyBackupRetention) / time.Second),
		BackupsSeconds: int64(s.erasure.BackupRetention / time.Second),
	}}
	for _, o := range occupancies {
		resp.Occupancies = append(resp.Occupancies, &wattveilv1.Occupancy{UsagePoint: string(o.UsagePoint), From: o.From, Until: o.Until, Zone: o.Zone, Node: o.Node})
	}
	first, last, ok, err := s.store.DataDays(ctx, h)
	if err != nil {
		return nil, err
	}
	if ok {
		resp.FirstDay, resp.LastDay = first.String(), last.String()
	}
	return resp, nil
}

// RotateHouseholdSecret replaces the calling household's secret, in an event of its
// own, and ends its other sessions in the same transaction. Whoever left the home
// with the old secret or an open page recognises nothing that comes after.
func (s *sessionService) RotateHouseholdSecret(ctx context.Context, req *wattveilv1.RotateHouseholdSecretRequest) (*wattveilv1.RotateHouseholdSecretResponse, error) {
	request, err := requestID(req.GetRequestId())
	if err != nil {
		return nil, err
	}
	p := caller(ctx)
	receipt, err := s.sequencer.Propose(ctx, fmt.Sprintf("rekey/%s/%s", p.ID, request), func(ctx context.Context, tx *store.Tx, at ledger.Position) (ledger.Payload, error) {
		return ledger.Payload{Kind: ledger.KindRekey, Subject: p.ID}, tx.CloseOtherSessions(ctx, p.Household(), p.Session, at.Time/1_000_000)
	})
	if err != nil {
		return nil, fmt.Errorf("replacing a household's secret: %w", err)
	}
	recorded, err := ledger.DecodePayload(receipt.Payload)
	if err != nil {
		return nil, err
	}
	return &wattveilv1.RotateHouseholdSecretResponse{Sequence: recorded.SubjectSeq}, nil
}

// letterCodes makes and hashes the codes printed in letters: twelve characters
// of Crockford's base 32, 60 random bits. The hash is keyed, so that a copy of
// the database does not let anyone search for codes.
type letterCodes struct{ key hidden }

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// letterCodeLength is the number of characters, dashes aside.
const letterCodeLength = 12

// draw returns a new code such as "7K2M-9QXA-03TZ" and its hash.
func (l letterCodes) draw(random io.Reader) (code string, hash [32]byte, err error) {
	var raw [letterCodeLength]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return "", hash, fmt.Errorf("drawing letter code: %w", err)
	}
	var b strings.Builder
	for i, r := range raw {
		if i > 0 && i%4 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(crockford[r&31])
	}
	hash, _ = l.hash(b.String())
	return b.String(), hash, nil
}

// hash normalises what a person typed (case, dashes, blanks, and the letters
// that look like digits) and hashes it.
func (l letterCodes) hash(code string) (out [32]byte, ok bool) {
	if len(code) > 64 {
		return out, false
	}
	var clean []byte
	for _, c := range []byte(strings.ToUpper(code)) {
		switch c {
		case '-', ' ':
			continue
		case 'O':
			c = '0'
		case 'I', 'L':
			c = '1'
		}
		if strings.IndexByte(crockford, c) < 0 {
			return out, false
		}
		clean = append(clean, c)
	}
	if len(clean) != letterCodeLength {
		return out, false
	}
	mac := hmac.New(sha256.New, l.key.bytes())
	mac.Write([]byte("wattveil letter code v1\x00"))
	mac.Write(clean)
	mac.Sum(out[:0])
	return out, true
}

// randomID returns 16 random bytes in hex: household ids.
func randomID(random io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("drawing identifier: %w", err)
	}
	return fmt.Sprintf("%x", b), nil
}
