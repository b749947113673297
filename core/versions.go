package core

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// A versioned set is a list that clients keep a copy of: a user's conversations,
// friends or joined groups, or a group's members. Its version starts at 1 (the
// empty set, stored nowhere) and grows by one per change; a log row per version
// says which elements that change inserted, updated or deleted. The difference
// between any old version and now follows from the log alone: the first entry of
// an element after the old version tells whether the client has it, the last one
// whether it still exists. So the answer is exact whatever the order of inserts,
// updates and deletes (REST contract §3.6, rule S5).

// versionSet is the key of a set in TableVersion and TableVersionLog.
type versionSet string

func conversationsOf(user string) versionSet { return versionSet("c" + user) }
func friendsOf(user string) versionSet       { return versionSet("f" + user) }
func joinedOf(user string) versionSet        { return versionSet("j" + user) }
func membersOf(group string) versionSet      { return versionSet("m" + group) }

type changeKind byte

const (
	changeInsert changeKind = 'i'
	changeUpdate changeKind = 'u'
	changeDelete changeKind = 'd'
	changeOrder  changeKind = 'o' // the order of the set changed; no element named
	changeInfo   changeKind = 'g' // the group itself changed; no element named
)

const (
	// versionLogKeep is how many versions back a client gets a difference; an
	// older one gets full=true. Logs are cut when they reach twice that.
	versionLogKeep = 1024
	// versionDiffMax bounds the elements of one difference.
	versionDiffMax = 4096
)

type change struct {
	kind changeKind
	id   string
}

// head is the state of a set: its version, and the version below which the log
// was cut. The zero head means a set nobody changed yet.
type head struct{ version, floor uint64 }

func (c *Core) readHead(r Reader, set versionSet) (head, error) {
	b, err := r.Get(Key{Table: TableVersion, A: string(set)})
	if err != nil || b == nil {
		return head{version: 1, floor: 1}, err
	}
	h := head{}
	n := 0
	if h.version, n = binary.Uvarint(b); n > 0 {
		h.floor, n = binary.Uvarint(b[n:])
	}
	if n <= 0 {
		return head{}, fmt.Errorf("core: version record of %q is damaged", set)
	}
	return h, nil
}

// versionID is constant for a set as long as the store lives: 24 hex digits.
func (c *Core) versionID(set versionSet) string {
	sum := sha256.Sum256([]byte(c.store.ID() + "/" + string(set)))
	return hex.EncodeToString(sum[:12])
}

// setBump collects what one transaction changes in one set.
type setBump struct {
	head    head
	version uint64
	changes []change
}

func (b *setBump) encode() []byte {
	var out []byte
	for _, ch := range b.changes {
		out = append(out, byte(ch.kind))
		out = binary.AppendUvarint(out, uint64(len(ch.id)))
		out = append(out, ch.id...)
	}
	return out
}

// decodeChanges calls fn for each change of a log row, oldest first.
func decodeChanges(row []byte, fn func(changeKind, string)) error {
	for len(row) > 0 {
		kind := changeKind(row[0])
		n, w := binary.Uvarint(row[1:])
		if w <= 0 || uint64(len(row)-1-w) < n {
			return fmt.Errorf("core: version log row is damaged")
		}
		rest := row[1+w:]
		fn(kind, string(rest[:n]))
		row = rest[n:]
	}
	return nil
}

// bump records changes of a set in this transaction and returns the version the
// set will have. The caller holds the stripe of the set's user or group.
func (t *tx) bump(set versionSet, changes ...change) (uint64, error) {
	b := t.bumps[set]
	if b == nil {
		h, err := t.c.readHead(t.c.store.Latest(), set)
		if err != nil {
			return 0, err
		}
		b = &setBump{head: h, version: h.version + 1}
		if t.bumps == nil {
			t.bumps = make(map[versionSet]*setBump)
		}
		t.bumps[set] = b
	}
	b.changes = append(b.changes, changes...)
	return b.version, nil
}

// writeBumps turns the collected changes into writes.
func (t *tx) writeBumps() {
	for set, b := range t.bumps {
		floor := b.head.floor
		if b.version-floor > 2*versionLogKeep {
			cut := b.version - versionLogKeep
			t.ops = append(t.ops, Op{Key: Key{Table: TableVersionLog, A: string(set), N: floor}, To: cut + 1})
			floor = cut
		}
		var v []byte
		v = binary.AppendUvarint(v, b.version)
		v = binary.AppendUvarint(v, floor)
		t.put(Key{Table: TableVersion, A: string(set)}, v)
		t.put(Key{Table: TableVersionLog, A: string(set), N: b.version}, b.encode())
	}
	clear(t.bumps)
}

// difference is what a client at an old version must do to have the set.
type difference struct {
	version   uint64
	versionID string
	full      bool // throw the copy away and fetch all
	insert    []string
	update    []string
	delete    []string
	order     uint64 // version of the last change of order in range, or 0
	info      bool   // the group itself changed in range
}

// diff answers a client that has version and versionID of set ("" and 0: none).
// view must be one snapshot for this call and the reads of the elements.
func (c *Core) diff(view Reader, set versionSet, versionID string, version uint64) (difference, error) {
	h, err := c.readHead(view, set)
	if err != nil {
		return difference{}, err
	}
	d := difference{version: h.version, versionID: c.versionID(set)}
	if version == 0 || versionID != d.versionID || version > h.version || version < h.floor {
		d.full = true
		return d, nil
	}
	type span struct{ first, last changeKind }
	seen := make(map[string]*span)
	var order []string
	var damaged error
	err = view.Scan(Range{Table: TableVersionLog, Fixed: 1, A: string(set), From: version + 1}, func(k Key, row []byte) bool {
		damaged = decodeChanges(row, func(kind changeKind, id string) {
			switch kind {
			case changeOrder:
				d.order = k.N
			case changeInfo:
				d.info = true
			default:
				if s := seen[id]; s != nil {
					if kind == changeInsert && s.first != changeInsert {
						d.order = k.N // the client keeps it where it stood before it left
					}
					s.last = kind
				} else {
					seen[id] = &span{first: kind, last: kind}
					order = append(order, id)
				}
			}
		})
		return damaged == nil && len(order) <= versionDiffMax
	})
	if err != nil || damaged != nil {
		return difference{}, firstError(err, damaged)
	}
	if len(order) > versionDiffMax {
		return difference{version: d.version, versionID: d.versionID, full: true}, nil
	}
	for _, id := range order {
		had, has := seen[id].first != changeInsert, seen[id].last != changeDelete
		switch {
		case had && has:
			d.update = append(d.update, id)
		case had:
			d.delete = append(d.delete, id)
		case has:
			d.insert = append(d.insert, id)
		}
	}
	return d, nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
