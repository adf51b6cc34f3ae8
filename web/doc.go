// Package web is the household's portal: my electricity use, who may see it
// and how to stop that, who has seen it. It is the regulator's first page too:
// which events the record holds, and whether each is proved.
//
// It keeps one promise: a page shows its visitor what the API tells that
// visitor, and nothing else exists here. The package holds no store and no
// key; it is a gRPC client that passes its visitor's session on with every
// call, so whoever breaks into it gets one visitor at a time, and it cannot do
// what the API forbids. A regulator comes with a client certificate, which the
// hub has verified and whose name it alone passes on ([Config.Regulator]); to
// others those pages do not exist. What is shown as recorded has been checked
// against the log's key first, and a page says whose program and key that was.
//
// Pages are drawn on the server and work without a script: there is none. The
// content security policy forbids every script, every frame and every origin
// but the hub's own, and all state is in plain forms and one cookie. Charts are
// inline SVG whose values stand in a table beside them. Energy is integer Wh
// from the wire to the page; no float stands for a reading.
//
// One page is one Go file, one template of the same name, and one row of the
// routes table.
package web
