package ledger

// ParseTilePath and TilePath are the path grammar of the tile server.
var (
	ParseTilePath = parseTilePath
	TilePath      = tilePath
)

// EntriesLevel is the level that stands for entry bundles.
const EntriesLevel = entriesLevel

// Closing is closed once Close has begun.
func (s *Sequencer[T]) Closing() <-chan struct{} { return s.closing }
