package core

// TokenID is the first half of the SHA-256 of a token's text: what the server
// keeps instead of the token itself.
type TokenID [16]byte
