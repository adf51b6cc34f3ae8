// Package proto holds the wire contract: the .proto files of wattveil.v1, the
// routes that put REST beside gRPC, and what is generated from both. It
// promises that the description clients read is the one the hub was built
// from: both are generated in one run, and the gate refuses a difference.
package proto

import _ "embed"

// OpenAPI is the OpenAPI 2.0 (Swagger) description of the REST surface, in
// JSON, ready to be served as /openapi.json.
//
//go:embed openapi.swagger.json
var OpenAPI string
