package releasetest

import (
	"sync"

	"github.com/wattveil/wattveil/ledger/ledgertest"
)

// Step names a place where a fault can be ordered, beside those of ledgertest.
type Step = ledgertest.Step

// The steps of Memory.
const (
	ReadWindow     Step = "read window"
	PutWindow      Step = "put window"
	ListWindows    Step = "list windows"
	FirstWindow    Step = "first window"
	LastWindow     Step = "last window"
	BeginClosing   Step = "begin closing"
	CountAttempt   Step = "count attempt"
	EndPublishing  Step = "end publishing"
	EndClosing     Step = "end closing"
	ReadSpent      Step = "read spent"
	PublishedAmong Step = "published among"
	PutRunning     Step = "put running"
	RunningSets    Step = "running sets"
	RunningRecords Step = "running records"
	SpoolKeys      Step = "spool keys"
	SpoolRecords   Step = "spool records"
	WriterKeys     Step = "writer keys"
	ReadNodes      Step = "read nodes"
	ReadHouseholds Step = "read households"
	PutConflict    Step = "put conflict"
	PutLive        Step = "put live"
	ReadLive       Step = "read live"
	Reserve        Step = "reserve"
	PutRelease     Step = "put release"
)

// The steps of Keys.
const (
	CreateKey  Step = "create key"
	DestroyKey Step = "destroy key"
	Wrap       Step = "wrap"
	Unwrap     Step = "unwrap"
)

// OnStep orders faults in the ledger's part and in this one: f is asked before
// every step, by several goroutines at once, and may do something of its own. It
// must not use the store at the steps of a transaction. Nil ends them.
func (m *Memory) OnStep(f func(Step) ledgertest.Fault) {
	m.Memory.OnStep(f)
	m.orders.set(f)
}

// OnStep orders faults as that of Memory does.
func (k *Keys) OnStep(f func(Step) ledgertest.Fault) { k.orders.set(f) }

// orders are what a test wants to go wrong.
type orders struct {
	mu    sync.RWMutex
	fault func(Step) ledgertest.Fault
}

func (o *orders) set(f func(Step) ledgertest.Fault) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fault = f
}

// do performs one step, with the fault that is ordered for it.
func (o *orders) do(step Step, effect func() error) error {
	o.mu.RLock()
	f := o.fault
	o.mu.RUnlock()
	fault := ledgertest.None
	if f != nil {
		fault = f(step)
	}
	if fault == ledgertest.Failed || fault == ledgertest.Lost {
		return wrap(step)
	}
	if err := effect(); err != nil {
		return err
	}
	if fault == ledgertest.FailedPersisted {
		return wrap(step)
	}
	return nil
}
