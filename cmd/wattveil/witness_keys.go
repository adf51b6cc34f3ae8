package main

import (
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/wattveil/wattveil/ledger/witness"
)

// followKeys lets a witness take up new verifier keys of its logs without a restart: of
// what it was told to watch, a file that is not as it was read last is read before the
// next request is answered. One that cannot be used changes nothing, and the log says so,
// once.
func followKeys(w *witness.Witness, watched, read []string, log *slog.Logger) http.Handler {
	var mu sync.Mutex // guards read
	next := w.Handler()
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		for i, file := range watched {
			if strings.Contains(file, "+") { // the keys themselves
				continue
			}
			text, err := os.ReadFile(file)
			if string(text) == read[i] { // nothing, of a file that is not there
				continue
			}
			read[i] = string(text)
			if err == nil {
				err = w.Replace(read[i])
			}
			if err != nil {
				log.ErrorContext(r.Context(), "verifier keys not taken up", slog.String("file", file), slog.String("cause", err.Error()))
			} else {
				log.WarnContext(r.Context(), "verifier keys taken up", slog.String("file", file))
			}
		}
		mu.Unlock()
		next.ServeHTTP(rw, r)
	})
}
