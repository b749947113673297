// Package im holds the nouns of instant messaging that every room of gannet
// shares: platforms, conversation IDs, content types and the closed table of
// request errors. It imports the standard library only and does nothing: no
// I/O, no locks, no goroutines.
package im
