package wire

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"
)

func gzipped(t testing.TB, level int, content []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func inflateOnce(p []byte, max int) ([]byte, error) {
	f := inflaters.Get().(*inflater)
	defer f.release()
	b, err := f.inflate(p, max)
	return bytes.Clone(b), err
}

// inflateCases are streams that a reader may take differently.
func inflateCases(t testing.TB) [][]byte {
	t.Helper()
	hello, zeros := gzipped(t, 6, []byte("hello")), gzipped(t, 9, make([]byte, 200_000))
	var named bytes.Buffer
	w := gzip.NewWriter(&named)
	w.Name, w.Comment, w.Extra = "name", "comment", make([]byte, 60_000)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return [][]byte{
		nil, hello, gzipped(t, 0, []byte("stored")), gzipped(t, 1, nil), zeros, named.Bytes(),
		append(bytes.Clone(hello), hello...),
		append(bytes.Clone(hello), "garbage that is longer than a header"...),
		append(bytes.Clone(hello), 0),
		append(bytes.Clone(hello), 0x1f, 0x8b),
		append(bytes.Clone(hello), "\x1f\x8b\b\x08000000name without end"...),
		bytes.Repeat(gzipped(t, 6, nil), 1000),
		hello[:len(hello)-1], hello[:5], append(bytes.Clone(hello[:len(hello)-8]), make([]byte, 8)...),
		zeros[:len(zeros)-20],
	}
}

// checkInflate compares with the standard library's reader, as the SDK and the
// official server use it.
func checkInflate(t testing.TB, p []byte, max int) {
	t.Helper()
	got, gotErr := inflateOnce(p, max)
	if len(got) > max {
		t.Fatalf("%d bytes beyond the bound %d", len(got), max)
	}
	var want []byte
	r, wantErr := gzip.NewReader(bytes.NewReader(p))
	if wantErr == nil {
		want, wantErr = io.ReadAll(io.LimitReader(r, int64(max)+1))
	}
	switch {
	case wantErr != nil:
		if gotErr == nil {
			t.Fatalf("accepted; the standard library: %v", wantErr)
		}
	case len(want) > max:
		if !errors.Is(gotErr, ErrTooLarge) && !errors.Is(gotErr, ErrMalformed) {
			t.Fatalf("%d bytes and more within %d: %v", len(want), max, gotErr)
		}
	case gotErr != nil || !bytes.Equal(got, want):
		t.Fatalf("%d bytes, %v; the standard library: %d bytes", len(got), gotErr, len(want))
	}
}

func TestInflateIsTheStandardLibrarys(t *testing.T) {
	for _, p := range inflateCases(t) {
		for _, max := range []int{0, 4, 5, 9, 10, 1000, 199_999, 200_000, 1 << 20} {
			checkInflate(t, p, max)
		}
	}
	if _, err := inflateOnce(gzipped(t, 9, make([]byte, 1<<20)), 1<<20-1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte above the bound: %v", err)
	}
}

func FuzzInflate(f *testing.F) {
	for _, p := range inflateCases(f) {
		f.Add(p, uint16(1000))
	}
	f.Fuzz(func(t *testing.T, p []byte, max uint16) { checkInflate(t, p, int(max)) })
}
