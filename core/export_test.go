package core

import (
	"slices"

	"gannet/internal/wire"
)

// VersionLogKeep is how many versions back a difference is promised.
const VersionLogKeep = versionLogKeep

// GroupInMemory answers the members that the loaded state of a group knows, in
// order, and its status; false when it is not loaded.
func (c *Core) GroupInMemory(id string) (members []string, status int32, loaded bool) {
	g := c.loadedGroup(id)
	if g == nil {
		return nil, 0, false
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	for user := range g.members {
		members = append(members, user)
	}
	slices.Sort(members)
	return members, g.status, true
}

// DecodeFrame reads the response in a frame for a socket.
func DecodeFrame(frame []byte, v wire.Variant) (wire.Response, error) {
	header := 2
	switch frame[1] {
	case 126:
		header = 4
	case 127:
		header = 10
	}
	return wire.DecodeResponse(frame[header:], v, 1<<20)
}
