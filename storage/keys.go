package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"gannet/core"
)

// This file is the only one that knows how a core.Key becomes bytes.
//
// A key is its table's prefix byte, then the fields the table uses, in the order
// A, B, N. A text field is followed by a terminator (0x00) unless it is the last
// field; a text field with a terminator has its bytes 0x00 and 0x01 escaped (0x01
// 0x01 and 0x01 0x02), so the bytes sort as the texts do. N is 8 bytes, big
// endian. So byte order of keys is order of (table prefix, A, B, N).

// fields says which fields of a core.Key a table uses. Every table uses A.
type fields uint8

const (
	fieldB fields = 1 << iota
	fieldN
)

// row describes one table. docs/storage.md repeats the rows; a test compares.
type row struct {
	prefix byte // first byte of each key; never reused for another meaning
	name   string
	fields fields
	flags  flags
	doc    string
}

// flags say what is special about a table.
type flags uint8

const (
	// untracked tables keep their queued writes out of Latest: core tracks them.
	untracked flags = 1 << iota
	// filtered tables have their keys in the filter: look-ups there nearly always
	// find nothing.
	filtered
)

// metaPrefix is the first byte of storage's own records (see format.go).
const metaPrefix = '!'

// rows is the key table, indexed by core.Table.
var rows = [...]row{
	core.TableUser:          {'u', "user", 0, 0, "a user's profile"},
	core.TableToken:         {'t', "token", fieldB, 0, "a login token's state"},
	core.TableConversation:  {'c', "conversation", 0, 0, "a conversation's kind, parties and minSeq"},
	core.TableMessage:       {'m', "message", fieldN, untracked, "a message"},
	core.TableMessageID:     {'d', "messageID", fieldB, untracked | filtered, "the seq of a message already sent: dedup"},
	core.TableInbox:         {'i', "inbox", fieldB, 0, "an owner's settings of a conversation"},
	core.TableNotice:        {'n', "notice", fieldB, 0, "a pair's notification conversation, by user"},
	core.TableReadSeq:       {'r', "readSeq", fieldB, 0, "an owner's read cursor"},
	core.TableHidden:        {'h', "hidden", fieldB | fieldN, 0, "a message deleted for one owner"},
	core.TableVersion:       {'v', "version", 0, 0, "the current version of a versioned set"},
	core.TableVersionLog:    {'l', "versionLog", fieldN, 0, "what changed at a version"},
	core.TableCommand:       {'k', "command", fieldB, 0, "a user command"},
	core.TableFriend:        {'f', "friend", fieldB, 0, "a friendship, seen by its owner"},
	core.TableFriendOf:      {'F', "friendOf", fieldB, 0, "a friendship, seen by the friend"},
	core.TableBlack:         {'b', "black", fieldB, 0, "a block"},
	core.TableFriendRequest: {'q', "friendRequest", fieldB, 0, "a friend request, by addressee"},
	core.TableFriendAsked:   {'Q', "friendAsked", fieldB, 0, "a friend request, by sender"},
	core.TableGroup:         {'g', "group", 0, 0, "a group"},
	core.TableMember:        {'e', "member", fieldB, 0, "a membership, by group"},
	core.TableJoined:        {'j', "joined", fieldB, 0, "a membership, by user"},
	core.TableGroupRequest:  {'a', "groupRequest", fieldB, 0, "an application to join, by group"},
	core.TableGroupAsked:    {'A', "groupAsked", fieldB, 0, "an application to join, by user"},
	core.TableProfile:       {'p', "profile", 0, 0, "the v2 dialect's extra profile fields"},
}

// tableOf finds a table by its prefix byte.
var tableOf = func() (t [256]core.Table) {
	for i, r := range rows {
		if r.prefix != 0 {
			t[r.prefix] = core.Table(i)
		}
	}
	return t
}()

var (
	errBadKey   = errors.New("storage: bytes are not a key")
	errBadTable = errors.New("storage: unknown table")
	errBadRange = errors.New("storage: range fixes fields its table does not have")
)

// known reports whether t has a row.
func known(t core.Table) bool { return int(t) < len(rows) && rows[t].prefix != 0 }

// strip zeroes the fields that k's table does not use, so that equal records have
// equal Keys. REQUIRES: known(k.Table).
func strip(k *core.Key) {
	if rows[k.Table].fields&fieldB == 0 {
		k.B = ""
	}
	if rows[k.Table].fields&fieldN == 0 {
		k.N = 0
	}
}

const (
	terminator = 0x00
	escape     = 0x01
)

// appendKey appends the encoding of k. REQUIRES: known(k.Table).
func appendKey(dst []byte, k *core.Key) []byte {
	r := &rows[k.Table]
	dst = append(dst, r.prefix)
	if r.fields == 0 {
		return append(dst, k.A...)
	}
	dst = append(appendText(dst, k.A), terminator)
	if r.fields&fieldB != 0 {
		if r.fields&fieldN == 0 {
			return append(dst, k.B...)
		}
		dst = append(appendText(dst, k.B), terminator)
	}
	return binary.BigEndian.AppendUint64(dst, k.N)
}

// appendText appends s escaped, without its terminator.
func appendText(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] <= escape {
			return appendEscaped(dst, s)
		}
	}
	return append(dst, s...)
}

func appendEscaped(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] <= escape {
			dst = append(dst, escape, s[i]+1)
		} else {
			dst = append(dst, s[i])
		}
	}
	return dst
}

// decodeKey is the inverse of appendKey.
func decodeKey(enc []byte) (core.Key, error) {
	var k core.Key
	if len(enc) == 0 || tableOf[enc[0]] == 0 {
		return k, errBadKey
	}
	k.Table = tableOf[enc[0]]
	return k, decodeFields(&k, 0, enc[1:])
}

// decodeFields decodes the fields of k that follow its first `fixed` text fields,
// which the caller has already set. A scan so allocates only for what varies.
func decodeFields(k *core.Key, fixed int, enc []byte) (err error) {
	f := rows[k.Table].fields
	if fixed == 0 {
		if k.A, enc, err = cutText(enc, f == 0); err != nil {
			return err
		}
	}
	if f&fieldB != 0 && fixed < 2 {
		if k.B, enc, err = cutText(enc, f&fieldN == 0); err != nil {
			return err
		}
	}
	if f&fieldN != 0 {
		if len(enc) != 8 {
			return errBadKey
		}
		k.N, enc = binary.BigEndian.Uint64(enc), nil
	}
	if len(enc) != 0 {
		return errBadKey
	}
	return nil
}

// cutText takes one text field from the front of enc.
func cutText(enc []byte, last bool) (text string, rest []byte, err error) {
	if last {
		return string(enc), nil, nil
	}
	escaped := false
	for i, c := range enc {
		switch c {
		case terminator:
			if escaped {
				text, err = unescape(enc[:i])
				return text, enc[i+1:], err
			}
			return string(enc[:i]), enc[i+1:], nil
		case escape:
			escaped = true
		}
	}
	return "", nil, errBadKey
}

func unescape(enc []byte) (string, error) {
	text := make([]byte, 0, len(enc))
	for i := 0; i < len(enc); i++ {
		c := enc[i]
		if c == escape {
			if i++; i == len(enc) || enc[i] < 1 || enc[i] > 2 {
				return "", errBadKey
			}
			c = enc[i] - 1
		}
		text = append(text, c)
	}
	return string(text), nil
}

// formatKey writes an encoded key for a human: message/si_a_b/42.
func formatKey(enc []byte) string {
	k, err := decodeKey(enc)
	if err != nil {
		return fmt.Sprintf("%q", enc)
	}
	r := rows[k.Table]
	s := r.name + "/" + formatText(k.A)
	if r.fields&fieldB != 0 {
		s += "/" + formatText(k.B)
	}
	if r.fields&fieldN != 0 {
		s += "/" + strconv.FormatUint(k.N, 10)
	}
	return s
}

func formatText(s string) string {
	if q := strconv.Quote(s); s == "" || strings.Contains(s, "/") || q != `"`+s+`"` {
		return q
	}
	return s
}

// bounds are the encoded limits of a scan: from lower, inclusive, to upper,
// exclusive. Keys inside share their first `shared` bytes.
type bounds struct {
	lower, upper []byte
	shared       int
}

// boundsOf translates r. An impossible range gives lower ≥ upper.
func boundsOf(r *core.Range) (b bounds, err error) {
	if !known(r.Table) {
		return b, errBadTable
	}
	f := rows[r.Table].fields
	if r.Fixed < 0 || r.Fixed > 2 || r.Fixed == 2 && f&fieldB == 0 {
		return b, errBadRange
	}
	base := []byte{rows[r.Table].prefix}
	free := true   // a text field follows the fixed ones
	last := f == 0 // it is the key's last field
	if r.Fixed > 0 {
		if base = appendText(base, r.A); f == 0 {
			base = append(base[:1], r.A...)
		} else {
			base = append(base, terminator)
		}
		free, last = f&fieldB != 0, f&fieldN == 0
	}
	if r.Fixed > 1 {
		if f&fieldN == 0 {
			base = append(base, r.B...)
		} else {
			base = append(appendText(base, r.B), terminator)
		}
		free = false
	}
	b.shared = len(base)
	switch {
	case free:
		b.lower, b.upper = base, successor(base)
		if r.After != "" && !r.Reverse {
			b.lower = appendAfter(base, r.After, last)
		}
	case f&fieldN != 0:
		b.lower = binary.BigEndian.AppendUint64(base, r.From)
		b.upper = successor(base)
		if r.To != 0 && r.To != math.MaxUint64 {
			b.upper = binary.BigEndian.AppendUint64(append([]byte(nil), base...), r.To+1)
		}
	default:
		b.lower, b.upper = base, append(append([]byte(nil), base...), 0)
	}
	return b, nil
}

// appendAfter makes the least key above every key whose next text field is after.
func appendAfter(base []byte, after string, last bool) []byte {
	if last {
		return append(append(base, after...), 0)
	}
	return append(appendText(base, after), terminator+1)
}

// successor is the least key above all keys that start with base. Its last byte is
// a prefix byte or a terminator, so adding one does not overflow.
func successor(base []byte) []byte {
	next := append([]byte(nil), base...)
	next[len(next)-1]++
	return next
}

// contains reports whether k, a key of r.Table, is in r: what boundsOf says in
// bytes, said in fields.
func contains(r *core.Range, k *core.Key) bool {
	if r.Fixed > 0 && k.A != r.A || r.Fixed > 1 && k.B != r.B {
		return false
	}
	f := rows[r.Table].fields
	switch {
	case r.Fixed == 0:
		return r.Reverse || r.After == "" || k.A > r.After
	case r.Fixed == 1 && f&fieldB != 0:
		return r.Reverse || r.After == "" || k.B > r.After
	case f&fieldN != 0:
		return k.N >= r.From && (r.To == 0 || k.N <= r.To)
	}
	return true
}

// compare orders two keys of one table as their encodings do.
func compare(a, b *core.Key) int {
	if c := strings.Compare(a.A, b.A); c != 0 {
		return c
	}
	if c := strings.Compare(a.B, b.B); c != 0 {
		return c
	}
	switch {
	case a.N < b.N:
		return -1
	case a.N > b.N:
		return 1
	}
	return 0
}
