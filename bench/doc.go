// Package bench measures what crosses rooms: a message from core.Send through a
// durable commit to the frames for its receivers, and a group message to many
// sessions, without sockets. Benchmarks of one room stand beside its code;
// whole-server figures come from loadtest. Budgets that must not be exceeded are
// tests here.
//
//	go test ./bench -run '^$' -bench . -benchmem
package bench
