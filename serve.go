package main

import (
	"errors"
	"io"
)

func serve(c *Config, stdout, stderr io.Writer) (int, error) {
	return 0, errors.New("nothing to serve yet")
}
