// Package bench measures the hops of a message and of the questions around it, one
// by one and together, without a load generator: whole-server figures come from
// loadtest. budget_test.go holds the one table of hops, each with the allocations
// it may make, which TestBudgets enforces, and the floor that its time should come
// near. Benchmarks of one room's inner parts stand beside its code.
//
//	go test ./bench -run '^$' -bench . -benchmem
//
// results/README.md tells how results are recorded and compared.
package bench
