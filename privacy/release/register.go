package release

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// register says where households count in the tracks of a closing, and in how many
// records they are named. It is all that a closing keeps of a household, whatever the tree
// and the tracks; of more households than it may hold it takes a part at a time.
type register struct {
	of       map[key]uint32
	like     []resident // households that count at the same places share one
	named    *named
	together bool // all are taken to be named in several records
}

// named says in how many records each household is named, registered or not.
type named struct {
	records map[key]uint8 // 2 stands for more
	several int           // households that are in more than one
}

// key stands for a household. It is a hash, so that the register keeps no names, and
// long enough that no two of them meet.
type key [16]byte

func keyOf(h consent.Household) key {
	sum := sha256.Sum256([]byte(h))
	return key(sum[:16])
}

// resident is where a household counts, by track.
type resident struct {
	places []Place
	counts []bool // whether it does at all
}

// where reads the register. A household counts where it lived last in the days of a
// track, and in every track whose days it lived in; its contributions of a day are its
// own, whoever lives there now. Of the others than mine it takes none, and of more than so
// many it is errManyHouseholds.
func (e *Engine[T]) where(ctx context.Context, tracks []*track, mine func(consent.Household) bool, most int) (*register, error) {
	r := &register{of: map[key]uint32{}, named: &named{}, like: []resident{{make([]Place, len(tracks)), make([]bool, len(tracks))}}}
	type days struct{ first, last meter.Day }
	spans := map[days][]int{} // tracks of each
	var order []days
	for i, t := range tracks {
		span := days{t.first, t.last()}
		if spans[span] == nil {
			order = append(order, span)
		}
		spans[span] = append(spans[span], i)
	}
	for _, span := range order {
		type step struct {
			like  uint32
			place Place
		}
		steps := map[step]uint32{}
		err := e.Store.HouseholdPlaces(ctx, span.first, span.last, func(h consent.Household, p Place) {
			if !mine(h) || len(r.of) > most {
				return
			}
			k := keyOf(h)
			was := r.of[k]
			is, known := steps[step{was, p}]
			if !known {
				is = r.alike(was, spans[span], p)
				steps[step{was, p}] = is
			}
			r.of[k] = is
		})
		if err != nil {
			return nil, reading("households", err)
		}
		if len(r.of) > most {
			return nil, errManyHouseholds
		}
	}
	return r, nil
}

// errManyHouseholds says that a part of the register holds more households than may be in
// memory together.
var errManyHouseholds = errors.New("release: more households than are held at once")

// alike adds those who count as others do, and at a place in some more tracks.
func (r *register) alike(as uint32, tracks []int, at Place) uint32 {
	n := resident{slices.Clone(r.like[as].places), slices.Clone(r.like[as].counts)}
	for _, i := range tracks {
		n.places[i], n.counts[i] = at, true
	}
	r.like = append(r.like, n)
	return uint32(len(r.like) - 1)
}

// find returns where a household counts, and in how many records it is: 0, 1, or 2 for
// more. It returns nil for who is not on the register.
func (r *register) find(h consent.Household) (*resident, uint8) {
	k := keyOf(h)
	like, ok := r.of[k]
	switch {
	case !ok:
		return nil, 0
	case r.together:
		return &r.like[like], 2
	}
	return &r.like[like], r.named.records[k]
}

// add counts one more record that names a household.
func (n *named) add(h consent.Household) {
	k := keyOf(h)
	switch n.records[k] {
	case 0:
		n.records[k] = 1
	case 1:
		n.records[k] = 2
		n.several++
	}
}

// held is how many households are in more than one record.
func (r *register) held() int {
	if r.together {
		return len(r.of)
	}
	return r.named.several
}
