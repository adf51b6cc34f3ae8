package consent

import (
	"context"

	"github.com/wattveil/wattveil/ledger"
)

// Withdraw is the recipient's own end of what it asked for or was granted. What was
// granted is Terminated, what was not decided is Invalid, both with the cause
// ByRecipient. Errors: ErrIdentifier, ErrNotFound also for another recipient's
// consent, ErrTransition if it has ended, ErrReplayed, or what the ledger returns.
func (s *Service[T]) Withdraw(ctx context.Context, requestID string, r Recipient, id ID) (Consent, ledger.Receipt, error) {
	return s.end(ctx, ByRecipient, string(r), requestID, id, func(c Consent) bool { return c.Recipient == r })
}

// Terminate ends a consent, or a request for one, in the name of the operator or the
// regulator: who of them says by. Errors as for Withdraw.
func (s *Service[T]) Terminate(ctx context.Context, requestID string, by Cause, who string, id ID) (Consent, ledger.Receipt, error) {
	return s.end(ctx, by, who, requestID, id, everyones)
}

// Suspend puts a granted consent on hold, effective for the very next access.
// ErrTransition unless it is granted; other errors as for Withdraw.
func (s *Service[T]) Suspend(ctx context.Context, requestID string, by Cause, who string, id ID) (Consent, ledger.Receipt, error) {
	return s.take(ctx, step{ledger.KindConsentSuspend, by, who, requestID, id, everyones}, unchanged)
}

// Resume takes a consent off hold, in the name of who put it there: to another it is
// ErrTransition, as is one that is not on hold. Other errors as for Withdraw.
func (s *Service[T]) Resume(ctx context.Context, requestID string, by Cause, who string, id ID) (Consent, ledger.Receipt, error) {
	held := by
	return s.take(ctx, step{ledger.KindConsentResume, by, who, requestID, id, func(c Consent) bool {
		held = c.Cause
		return true
	}}, func(_ context.Context, _ T, c Consent, _ int64) (Consent, error) {
		if held != by {
			return Consent{}, ErrTransition
		}
		return c, nil
	})
}

func everyones(Consent) bool { return true }

// end ends a consent as its state wants it.
func (s *Service[T]) end(ctx context.Context, by Cause, who, requestID string, id ID, may func(Consent) bool) (Consent, ledger.Receipt, error) {
	kind := ledger.KindConsentTerminate
	err := view(ctx, s.ledger, func(ctx context.Context, tx T) error {
		c, err := step{id: id, may: may}.find(ctx, tx)
		if c.DecidedAt == 0 { // decided or not, it never turns back; between the two steps it can only be refused
			kind = ledger.KindConsentInvalidate
		}
		return err
	})
	if err != nil {
		return Consent{}, ledger.Receipt{}, err
	}
	return s.take(ctx, step{kind, by, who, requestID, id, may}, unchanged)
}
