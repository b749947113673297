// Package e2e drives the official OpenIM Go SDK, unmodified, and a raw WebSocket
// client against a gannet server process. The server is a black box here: only
// its command line, its ports and its exit status are known to this module.
//
//	main_test.go    builds the server once, starts the one most tests share
//	process_test.go one server process: start, ready, SIGTERM, kill -9, start again
//	rest_test.go    an AppServer's side of the HTTP API
//	device_test.go  one SDK login (user, platform, folder) and what it was told
//	events_test.go  the SDK's callbacks, recorded
//	raw_test.go     the WebSocket protocol without the SDK, in all four envelopes
//	proxy_test.go   what tests put between client and server: a counter of HTTP
//	                calls, a TCP relay that can hold back what the server sends
//
// The tests are the acceptance list of the WebSocket contract; each says which
// of its numbers it covers. See README.md.
package e2e
