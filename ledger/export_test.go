package ledger

// ParseTilePath and TilePath are the path grammar of the tile server.
var (
	ParseTilePath = parseTilePath
	TilePath      = tilePath
)

// EntriesLevel is the level that stands for entry bundles.
const EntriesLevel = entriesLevel

// Waiting is the number of proposals nobody has taken up yet.
func (s *Sequencer[T]) Waiting() int { return len(s.queue) }
