package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/server/notify"
)

const consentColumns = `c.id, c.household, c.recipient, c.state, c.terms, c.requested_s, c.decided_s, c.ended_s, c.asked, c.cause, c.first_read_s, c.vacated_s`

// scanConsent scans consentColumns and more columns after them.
func scanConsent(row interface{ Scan(dest ...any) error }, more ...any) (c consent.Consent, err error) {
	var terms, asked []byte
	dest := []any{&c.ID, &c.Household, &c.Recipient, &c.State, &terms, &c.RequestedAt, &c.DecidedAt, &c.EndedAt, &asked, &c.Cause, &c.FirstReadAt, &c.VacatedAt}
	if err := row.Scan(append(dest, more...)...); err != nil {
		return consent.Consent{}, err
	}
	if c.Terms, err = consent.DecodeTerms(terms); err != nil {
		return consent.Consent{}, err
	}
	if asked == nil {
		c.Asked = c.Terms
		return c, nil
	}
	c.Asked, err = consent.DecodeTerms(asked)
	return c, err
}

// Consent implements consent.Tx.
func (t *Tx) Consent(ctx context.Context, id consent.ID) (consent.Consent, error) {
	if c, ok := t.ahead.consents[id]; ok {
		return c, nil
	}
	return t.lockConsent(ctx, `c.id = $1`, id)
}

// DueConsent implements consent.Tx.
func (t *Tx) DueConsent(ctx context.Context, at int64) (consent.Consent, error) {
	return t.lockConsent(ctx, `c.deadline_s > 0 AND c.deadline_s <= $1 ORDER BY c.deadline_s, c.id LIMIT 1`, at)
}

func (t *Tx) lockConsent(ctx context.Context, where string, arg any) (consent.Consent, error) {
	c, err := scanConsent(t.sql.QueryRowContext(ctx, `SELECT `+consentColumns+` FROM consents c WHERE `+where+t.forUpdate(), arg))
	if noRows(err) {
		err = consent.ErrNotFound
	}
	return c, doing("reading a consent", err)
}

// PutConsent implements consent.Tx. What its recipient is to be told of the change is
// written down with it.
func (t *Tx) PutConsent(ctx context.Context, c consent.Consent) error {
	kind, err := t.tellOf(ctx, c) // before the consent is as it shall be
	if err == nil {
		err = t.putConsent(ctx, c)
	}
	if err == nil && kind != "" {
		_, err = t.tell(ctx, c.Recipient, notify.Event{Kind: kind, Consent: c.ID, Cause: c.Cause})
	}
	return doing("storing a consent", err)
}

func (t *Tx) putConsent(ctx context.Context, c consent.Consent) error {
	delete(t.ahead.consents, c.ID)
	var asked []byte // null where it is what holds
	if terms := c.Asked.Encode(); !bytes.Equal(terms, c.Terms.Encode()) {
		asked = terms
	}
	_, err := t.sql.ExecContext(ctx,
		`INSERT INTO consents (id, household, recipient, state, terms, requested_s, decided_s, ended_s, deadline_s, asked, cause, first_read_s, vacated_s)
		 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		 ON CONFLICT (id) DO UPDATE SET household = excluded.household, recipient = excluded.recipient,
		   state = excluded.state, terms = excluded.terms, requested_s = excluded.requested_s,
		   decided_s = excluded.decided_s, ended_s = excluded.ended_s, deadline_s = excluded.deadline_s,
		   asked = excluded.asked, cause = excluded.cause, first_read_s = excluded.first_read_s, vacated_s = excluded.vacated_s`,
		c.ID, c.Household, c.Recipient, c.State, c.Terms.Encode(), c.RequestedAt, c.DecidedAt, c.EndedAt, c.Deadline(),
		asked, c.Cause, c.FirstReadAt, c.VacatedAt)
	return err
}

// OpenRequests implements consent.Tx.
func (t *Tx) OpenRequests(ctx context.Context, r consent.Recipient) (int, error) {
	var n int
	err := t.sql.QueryRowContext(ctx, `SELECT count(*) FROM consents WHERE recipient = $1 AND state = 1`, r).Scan(&n) // consent.Requested
	return n, doing("counting requests", err)
}

// Occupancies implements consent.Tx.
func (t *Tx) Occupancies(ctx context.Context, h consent.Household) ([]consent.Occupancy, error) {
	if o, ok := t.ahead.occupancies[h]; ok {
		return slices.Clone(o), nil
	}
	o, err := occupancies(ctx, t.sql, h)
	return o, doing("reading occupancies", err)
}

// Occupancies returns all occupancies of a household, oldest first; none for an
// unknown one.
func (s *Store) Occupancies(ctx context.Context, h consent.Household) ([]consent.Occupancy, error) {
	o, err := occupancies(ctx, s.read, h)
	return o, s.reading("occupancies", err)
}

func occupancies(ctx context.Context, q querier, h consent.Household) ([]consent.Occupancy, error) {
	return scanAll(ctx, q, scanOccupancy, occupancyRows+`o.household = $1`+occupancyOrder, h)
}

const (
	occupancyRows = `SELECT o.usage_point, o.household, o.from_s, coalesce(o.until_s, 0), p.zone, p.node
		FROM occupancies o JOIN usage_points p ON p.id = o.usage_point WHERE `
	occupancyOrder = ` ORDER BY o.from_s, o.usage_point`
)

func scanOccupancy(row *sql.Rows) (o consent.Occupancy, err error) {
	return o, row.Scan(&o.UsagePoint, &o.Household, &o.From, &o.Until, &o.Zone, &o.Node)
}

// OccupantOf implements consent.Tx. Whoever was erased lives nowhere.
func (t *Tx) OccupantOf(ctx context.Context, p meter.UsagePoint, at int64) (consent.Household, error) {
	var h consent.Household
	err := scanOne(ctx, t.sql, consent.ErrNotFound, []any{&h},
		`SELECT o.household FROM occupancies o JOIN households h ON h.id = o.household
		 WHERE o.usage_point = $1 AND o.from_s <= $2 AND (o.until_s IS NULL OR o.until_s > $2) AND h.public_key IS NOT NULL`, p, at)
	return h, doing("reading who lives at a usage point", err)
}

// StoredIntervals implements consent.Tx.
func (t *Tx) StoredIntervals(ctx context.Context, h consent.Household, points []meter.UsagePoint, registers []meter.Register, from, until int64) (uint64, error) {
	if n, ok := t.ahead.stored(h, points, registers, meter.DayOf(from), meter.DayOf(until)-1); ok {
		return n, nil
	}
	where, args := blocksOf(t.dialect, h, points, registers, meter.DayOf(from), meter.DayOf(until)-1)
	var n uint64
	err := t.sql.QueryRowContext(ctx, `SELECT coalesce(sum(intervals), 0) FROM blocks WHERE `+where, args...).Scan(&n)
	return n, doing("counting stored intervals", err)
}

// Owner says whose rows a caller may see. The zero Owner owns nothing.
type Owner struct {
	Household consent.Household // the household's own
	Recipient consent.Recipient // those that name the recipient
	All       bool              // everybody's: a regulator
}

// among renders the condition that rows are the owner's, with its value as
// parameter n. The columns are those of household and recipient.
func (o Owner) among(household, recipient string, n int) (string, any) {
	switch {
	case o.All:
		return fmt.Sprintf("$%d = ''", n), ""
	case o.Household != "":
		return fmt.Sprintf("%[1]s = $%[2]d AND %[1]s <> ''", household, n), string(o.Household)
	case o.Recipient != "":
		return fmt.Sprintf("%[1]s = $%[2]d AND %[1]s <> ''", recipient, n), string(o.Recipient)
	}
	return fmt.Sprintf("$%d <> ''", n), ""
}

// ConsentRow is a consent with the name its recipient is registered under.
type ConsentRow struct {
	consent.Consent
	RecipientName string // empty if the recipient is not registered
}

const consentRows = `SELECT ` + consentColumns + `, coalesce(r.name, '')
	FROM consents c LEFT JOIN recipients r ON r.id = c.recipient WHERE `

// ConsentOf returns one consent of the owner's, or ErrNotFound.
func (s *Store) ConsentOf(ctx context.Context, o Owner, id consent.ID) (ConsentRow, error) {
	where, owner := o.among("c.household", "c.recipient", 2)
	var row ConsentRow
	var err error
	row.Consent, err = scanConsent(s.read.QueryRowContext(ctx, consentRows+`c.id = $1 AND `+where, id, owner), &row.RecipientName)
	if noRows(err) {
		err = ErrNotFound
	}
	return row, s.reading("a consent", err)
}

// ListConsents returns up to limit of the owner's consents, newest request
// first, and the token of the next page, empty on the last. page is the token
// from the page before, empty for the first; ErrPage if it is none.
func (s *Store) ListConsents(ctx context.Context, o Owner, page string, limit int) (rows []ConsentRow, next string, err error) {
	before, id, err := parsePage(page)
	if err != nil {
		return nil, "", err
	}
	where, owner := o.among("c.household", "c.recipient", 1)
	rows, err = scanAll(ctx, s.read, func(row *sql.Rows) (c ConsentRow, err error) {
		c.Consent, err = scanConsent(row, &c.RecipientName)
		return c, err
	}, consentRows+where+` AND (c.requested_s, c.id) < ($2, $3) ORDER BY c.requested_s DESC, c.id DESC LIMIT $4`,
		owner, before, id, limit+1)
	if err != nil {
		return nil, "", s.reading("consents", err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1]
		next = pageAfter(last.RequestedAt, string(last.ID))
	}
	return rows, next, nil
}
