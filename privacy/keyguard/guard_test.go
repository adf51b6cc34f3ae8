package keyguard_test

import (
	"testing"

	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/keyguard/keyguardtest"
)

// inProcess asks the guard itself.
func inProcess(_ *testing.T, g keyguard.Guardian) keyguard.Guardian { return g }

// The guard keeps its contract when it is asked in its own process.
func TestGuard(t *testing.T) { keyguardtest.TestGuardian(t, inProcess) }
