package storage

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
)

// format is the version of the layout this gannet writes. Each change of keys or
// values that an older gannet would misread adds one, and an upgrade step.
const format = 1

// upgrade turns a store of one format into the next. Its writes go into b, which is
// committed together with the new version, so a step happens whole or not at all.
type upgrade func(db *pebble.DB, b *pebble.Batch) error

// upgrades holds the step from each older format to the one after it.
var upgrades = map[int]upgrade{}

// The records of storage's own.
var (
	metaFormat = []byte{metaPrefix, 'f'} // the format, decimal
	metaID     = []byte{metaPrefix, 'i'} // the store's ID
)

// prepare makes db a store of the given format and returns its ID: it creates the
// records in an empty database, upgrades an older store, and refuses a newer one.
func prepare(db *pebble.DB, format int, steps map[int]upgrade) (id string, err error) {
	text, err := readMeta(db, metaFormat)
	if err != nil {
		return "", err
	}
	if text == "" {
		return create(db, format)
	}
	have, err := strconv.Atoi(text)
	if err != nil {
		return "", fmt.Errorf("format record is %q: not a store of gannet", text)
	}
	if have > format {
		return "", fmt.Errorf("written by a newer gannet: store format %d, this gannet knows up to %d", have, format)
	}
	for ; have < format; have++ {
		if err := step(db, have, steps[have]); err != nil {
			return "", fmt.Errorf("upgrade store format %d to %d: %w", have, have+1, err)
		}
	}
	return readMeta(db, metaID)
}

// step upgrades db from format `from`, with one synced batch.
func step(db *pebble.DB, from int, up upgrade) error {
	if up == nil {
		return errors.New("no such step in this gannet")
	}
	b := db.NewBatch()
	defer b.Close()
	if err := up(db, b); err != nil {
		return err
	}
	if err := b.Set(metaFormat, strconv.AppendInt(nil, int64(from)+1, 10), nil); err != nil {
		return err
	}
	return b.Commit(pebble.Sync)
}

// create writes the first records. A database that has others is not ours.
func create(db *pebble.DB, format int) (id string, err error) {
	it, err := db.NewIter(nil)
	if err != nil {
		return "", err
	}
	foreign := it.First()
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return "", err
	}
	if foreign {
		return "", errors.New("holds a database without a format record: not a store of gannet")
	}
	var random [12]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", err
	}
	id = hex.EncodeToString(random[:])
	b := db.NewBatch()
	defer b.Close()
	if err := b.Set(metaID, []byte(id), nil); err != nil {
		return "", err
	}
	if err := b.Set(metaFormat, strconv.AppendInt(nil, int64(format), 10), nil); err != nil {
		return "", err
	}
	return id, b.Commit(pebble.Sync)
}

// readMeta returns a record of storage's own as text, "" if there is none.
func readMeta(db *pebble.DB, key []byte) (string, error) {
	value, closer, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	text := string(value)
	return text, closer.Close()
}
