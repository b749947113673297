package storage

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"gannet/core"
)

// randomKey makes keys that share fields and hold the bytes the encoding treats
// specially, so that neighbours differ late.
func randomKey(r *rand.Rand) core.Key {
	k := core.Key{Table: core.Tables()[r.IntN(len(core.Tables()))], A: randomText(r), B: randomText(r)}
	k.N = [...]uint64{0, 1, 2, 255, 256, math.MaxUint64, r.Uint64()}[r.IntN(7)]
	strip(&k)
	return k
}

func randomText(r *rand.Rand) string {
	b := make([]byte, r.IntN(4))
	for i := range b {
		b[i] = [...]byte{0, 1, 2, 'a', 0xfe, 0xff}[r.IntN(6)]
	}
	return string(b)
}

func TestKeyOrderAndRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200_000 {
		a, b := randomKey(r), randomKey(r)
		if r.IntN(2) == 0 {
			b.Table = a.Table
			strip(&b)
		}
		ea, eb := appendKey(nil, &a), appendKey(nil, &b)
		want := cmp.Or(cmp.Compare(rows[a.Table].prefix, rows[b.Table].prefix),
			cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B), cmp.Compare(a.N, b.N))
		if got := bytes.Compare(ea, eb); got != want {
			t.Fatalf("%+v %+v: encodings compare %d, tuples %d", a, b, got, want)
		}
		if a.Table == b.Table && compare(&a, &b) != want {
			t.Fatalf("compare(%+v, %+v) != %d", a, b, want)
		}
		if back, err := decodeKey(ea); err != nil || back != a {
			t.Fatalf("%+v came back as %+v, %v", a, back, err)
		}
	}
}

// TestBounds checks the byte limits of a range against contains, which says the same
// in fields.
func TestBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	inside := 0
	for range 300_000 {
		k := randomKey(r)
		q := core.Range{Table: k.Table, A: k.A, B: k.B, After: randomText(r), Reverse: r.IntN(4) == 0}
		q.Fixed = r.IntN(2)
		if rows[k.Table].fields&fieldB != 0 {
			q.Fixed = r.IntN(3)
		}
		if r.IntN(4) == 0 {
			q.A = randomText(r)
		}
		if r.IntN(2) == 0 {
			q.From, q.To = uint64(r.IntN(300)), uint64(r.IntN(300))
		}
		if r.IntN(8) == 0 {
			q.To = math.MaxUint64
		}
		b, err := boundsOf(&q)
		if err != nil {
			t.Fatal(err)
		}
		enc := appendKey(nil, &k)
		got := bytes.Compare(b.lower, enc) <= 0 && bytes.Compare(enc, b.upper) < 0
		if got != contains(&q, &k) {
			t.Fatalf("%+v in %+v: bounds %v", k, q, got)
		}
		if got {
			inside++
		}
	}
	if inside < 50_000 {
		t.Fatalf("only %d keys were inside", inside)
	}
}

func TestRangeErrors(t *testing.T) {
	for _, r := range []core.Range{
		{Table: 0}, {Table: 200}, {Table: core.TableUser, Fixed: 2}, {Table: core.TableMessage, Fixed: 2},
		{Table: core.TableFriend, Fixed: 3}, {Table: core.TableFriend, Fixed: -1},
	} {
		if _, err := boundsOf(&r); err == nil {
			t.Errorf("%+v was accepted", r)
		}
	}
}

// golden is one key per table: these bytes are on users' disks.
var golden = map[core.Table]string{
	core.TableUser:          "75 41",
	core.TableToken:         "74 4100 4200",
	core.TableConversation:  "63 41",
	core.TableMessage:       "6d 4100 0000000000000102",
	core.TableMessageID:     "64 4100 4200",
	core.TableInbox:         "69 4100 4200",
	core.TableNotice:        "6e 4100 4200",
	core.TableReadSeq:       "72 4100 4200",
	core.TableHidden:        "68 4100 42010100 0000000000000102",
	core.TableVersion:       "76 41",
	core.TableVersionLog:    "6c 4100 0000000000000102",
	core.TableCommand:       "6b 4100 4200",
	core.TableFriend:        "66 4100 4200",
	core.TableFriendOf:      "46 4100 4200",
	core.TableBlack:         "62 4100 4200",
	core.TableFriendRequest: "71 4100 4200",
	core.TableFriendAsked:   "51 4100 4200",
	core.TableGroup:         "67 41",
	core.TableMember:        "65 4100 4200",
	core.TableJoined:        "6a 4100 4200",
	core.TableGroupRequest:  "61 4100 4200",
	core.TableGroupAsked:    "41 4100 4200",
	core.TableProfile:       "70 41",
}

func TestGoldenKeys(t *testing.T) {
	seen := map[byte]string{metaPrefix: "meta"}
	for _, table := range core.Tables() {
		if !known(table) {
			t.Errorf("table %d has no row", table)
			continue
		}
		r := rows[table]
		if other := seen[r.prefix]; other != "" || r.name == "" || r.doc == "" {
			t.Errorf("row %q is incomplete or shares its prefix with %q", r.name, other)
		}
		seen[r.prefix] = r.name
		k := core.Key{Table: table, A: "A", B: "B\x00", N: 0x102}
		if got := hex.EncodeToString(appendKey(nil, &k)); got != strings.ReplaceAll(golden[table], " ", "") {
			t.Errorf("%s: %s, want %s", r.name, got, golden[table])
		}
	}
	if len(rows) != len(core.Tables())+1 {
		t.Errorf("%d rows for %d tables", len(rows)-1, len(core.Tables()))
	}
}

// TestDocumentedKeys compares the key table of docs/storage.md with rows.
func TestDocumentedKeys(t *testing.T) {
	page, err := os.ReadFile("../docs/storage.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) > 5 && strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			documented[strings.Join(strings.Fields(cells[1]+cells[2]+cells[3]), " ")] = true
		}
	}
	for _, table := range core.Tables() {
		r := rows[table]
		text := "A"
		if r.fields&fieldB != 0 {
			text += ", B"
		}
		if r.fields&fieldN != 0 {
			text += ", N"
		}
		want := fmt.Sprintf("`%c` %s %s", r.prefix, r.name, text)
		if !documented[want] {
			t.Errorf("docs/storage.md has no row %q", want)
		}
		delete(documented, want)
	}
	delete(documented, fmt.Sprintf("`%c` (storage's own)", metaPrefix))
	for extra := range documented {
		t.Errorf("docs/storage.md has %q, the code does not", extra)
	}
}

func TestFormatKey(t *testing.T) {
	for want, k := range map[string]core.Key{
		`message/si_a_b/42`:         {Table: core.TableMessage, A: "si_a_b", N: 42},
		`hidden/"a/b"/"\x00"/7`:     {Table: core.TableHidden, A: "a/b", B: "\x00", N: 7},
		`user/""`:                   {Table: core.TableUser},
		`messageID/sg_1/"\xff\x01"`: {Table: core.TableMessageID, A: "sg_1", B: "\xff\x01"},
	} {
		if got := formatKey(appendKey(nil, &k)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := formatKey([]byte{metaPrefix, 'f'}); got != `"!f"` {
		t.Errorf("meta key: %s", got)
	}
}

// FuzzDecodeKey: what decodes must encode to the same bytes; nothing may panic.
func FuzzDecodeKey(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 50 {
		k := randomKey(r)
		f.Add(appendKey(nil, &k))
	}
	f.Add([]byte("m\x01\x03\x00"))
	f.Fuzz(func(t *testing.T, enc []byte) {
		_ = formatKey(enc)
		k, err := decodeKey(enc)
		if err != nil {
			return
		}
		if back := appendKey(nil, &k); !bytes.Equal(back, enc) {
			t.Fatalf("%x decodes to %+v, which encodes to %x", enc, k, back)
		}
	})
}
