package store

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// ErrPage says that a text is not a page token of this store.
var ErrPage = errors.New("store: not a page token")

// A page token is the sort key of the last row of the page before it:
// number.id, the number in decimal. Lists go from large to small.

// pageAfter returns the token of the page that follows the row.
func pageAfter(number int64, id string) string {
	return strconv.FormatInt(number, 10) + "." + id
}

// parsePage returns the sort key that rows must be below. For the first page
// that is above every row's.
func parsePage(token string) (number int64, id string, err error) {
	if token == "" {
		return math.MaxInt64, "", nil
	}
	digits, id, ok := strings.Cut(token, ".")
	number, err = strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || len(id) > 256 {
		return 0, "", ErrPage
	}
	return number, id, nil
}
