// Package server is the edge of the hub: gRPC in, REST and pages beside it,
// authentication, limits, and the wiring of everything below.
//
// It keeps three promises. Every call passes one authorisation matrix that
// denies by default ([Matrix]); every core error reaches people through one
// table with a stable reason (errors.go); and an acknowledged batch of readings
// is sealed and durable before its acknowledgement leaves (ingest.go).
package server
