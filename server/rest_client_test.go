package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// restClient calls the REST door, as a household's own program would.
type restClient struct {
	base, token string
	header      http.Header
	client      *http.Client
}

func (r *rig) rest(token string) *restClient {
	return &restClient{base: "http://" + r.hub.HTTPAddr(), token: token, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
}

// raw makes a call and returns what came back, and the reason if it is an error.
func (c *restClient) raw(t testing.TB, verb, path string, body []byte) (code int, answer []byte, reason string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), verb, c.base+path, bytes.NewReader(body))
	ok(t, err)
	for k, v := range c.header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.client.Do(req)
	ok(t, err)
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	ok(t, err)
	if resp.StatusCode != http.StatusOK {
		var status struct {
			Details []struct{ Reason, Domain string } `json:"details"`
		}
		_ = json.Unmarshal(answer, &status) // pages answer in HTML
		for _, d := range status.Details {
			reason = d.Reason
		}
	}
	return resp.StatusCode, answer, reason
}

// call sends in and reads out; the error of an answer that is none of success is
// its reason.
func (c *restClient) call(t testing.TB, verb, path string, in, out proto.Message) error {
	t.Helper()
	var body []byte
	if in != nil {
		var err error
		body, err = protojson.Marshal(in)
		ok(t, err)
	}
	code, answer, reason := c.raw(t, verb, path, body)
	if code != http.StatusOK {
		return errors.New(reason)
	}
	return protojson.Unmarshal(answer, out)
}

func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
