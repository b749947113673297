package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// object is the body of a v2 request, or an object in it. Its readers take the
// spellings of one member, the canonical one first: the first that is not empty
// counts, names match in any case, null is as good as absent. What is wrong is
// noted and reported by err.
type object struct {
	names []string // as spelled, sorted, without the members that are null
	texts map[string]json.RawMessage
	bad   error    // the first member of a wrong JSON type
	rule  *failure // the first rule that does not hold
}

// parseObject reads a JSON object. Its errors quote nothing of the body.
func parseObject(body []byte) (*object, error) {
	o := &object{}
	if err := jsonIn.Unmarshal(body, &o.texts); err != nil {
		return nil, errors.New(detailOf(decodeError(body, &o.texts)))
	}
	o.names = make([]string, 0, len(o.texts))
	for name, text := range o.texts {
		if string(text) != "null" {
			o.names = append(o.names, name)
		}
	}
	slices.Sort(o.names)
	return o, nil
}

// err is the request's fault: wrong types go before rules.
func (o *object) err() error {
	switch {
	case o.bad != nil:
		return badRequest(o.bad.Error())
	case o.rule != nil:
		return o.rule
	}
	return nil
}

// each calls fn with the values of a member, by the rank of their spellings.
func (o *object) each(spellings []string, fn func(json.RawMessage)) {
	for _, s := range spellings {
		if _, exact := slices.BinarySearch(o.names, s); exact {
			fn(o.texts[s])
		}
		for _, name := range o.names {
			if name != s && strings.EqualFold(name, s) {
				fn(o.texts[name])
			}
		}
	}
}

// has reports whether a member is there.
func (o *object) has(spellings ...string) (there bool) {
	o.each(spellings, func(json.RawMessage) { there = true })
	return there
}

// decode reads one value; a wrong type is noted.
func (o *object) decode(text json.RawMessage, v any) {
	if err := jsonIn.Unmarshal(text, v); err != nil && o.bad == nil {
		o.bad = errors.New(detailOf(decodeError(text, v)))
	}
}

// read decodes every spelling of a member and returns the first value that is
// not empty.
func read[T any](o *object, spellings []string, empty func(T) bool) (value T, there bool) {
	o.each(spellings, func(text json.RawMessage) {
		var v T
		o.decode(text, &v)
		if !there || empty(value) {
			value = v
		}
		there = true
	})
	return value, there
}

func zero[T comparable](v T) bool {
	var none T
	return v == none
}

func (o *object) text(spellings ...string) string {
	s, _ := read(o, spellings, zero[string])
	return s
}

// present reads a text that may be empty but must be there.
func (o *object) present(spellings ...string) (string, bool) {
	return read(o, spellings, zero[string])
}

func (o *object) number(spellings ...string) int32 {
	n, _ := read(o, spellings, zero[int32])
	return n
}

func (o *object) real(spellings ...string) float64 {
	f, _ := read(o, spellings, zero[float64])
	return f
}

func (o *object) truth(spellings ...string) bool {
	b, _ := read(o, spellings, zero[bool])
	return b
}

// digits is an integer that may also be written as a decimal text.
type digits int64

func (d *digits) UnmarshalJSON(text []byte) error {
	s := string(text)
	if strings.HasPrefix(s, `"`) {
		if err := json.Unmarshal(text, &s); err != nil || s == "" {
			return err
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return errors.New("cannot unmarshal the value into a number")
	}
	*d = digits(n)
	return nil
}

func (o *object) digits(spellings ...string) int64 {
	n, _ := read(o, spellings, zero[digits])
	return int64(n)
}

// list reads texts; nil when the member is absent.
func (o *object) list(spellings ...string) []string {
	l, there := read(o, spellings, func(l []string) bool { return len(l) == 0 })
	if there && l == nil {
		return []string{}
	}
	return l
}

// object reads an object; nil when the member is absent.
func (o *object) object(spellings ...string) json.RawMessage {
	var found json.RawMessage
	o.each(spellings, func(text json.RawMessage) {
		if !strings.HasPrefix(string(text), "{") && o.bad == nil {
			o.bad = fmt.Errorf("json: cannot unmarshal the value of %s into an object", spellings[0])
		}
		if found == nil {
			found = text
		}
	})
	return found
}

// invalid notes that a field breaks a rule, in the words of v2 servers.
func (o *object) invalid(field, tag string) {
	if o.rule == nil {
		o.rule = badRequest(fmt.Sprintf("Key: 'Req.%s' Error:Field validation for '%s' failed on the '%s' tag", field, field, tag))
	}
}

func (o *object) need(field string, there bool) {
	if !there {
		o.invalid(field, "required")
	}
}

// atMost bounds a text in characters.
func (o *object) atMost(field, text string, most int) string {
	if utf8.RuneCountInString(text) > most {
		o.invalid(field, "max")
	}
	return text
}

// length bounds a list.
func (o *object) length(field string, list []string, most int) {
	if len(list) > most {
		o.invalid(field, "lte")
	}
}

// between bounds a number.
func (o *object) between(field string, n, low, high int64) {
	switch {
	case n < low:
		o.invalid(field, "min")
	case n > high:
		o.invalid(field, "max")
	}
}

func (o *object) oneOf(field string, n int64, allowed ...int64) {
	if !slices.Contains(allowed, n) {
		o.invalid(field, "oneof")
	}
}

// oneOrMore is list for a member that may also be one text.
func (o *object) oneOrMore(spellings ...string) []string {
	l, there := read(o, spellings, func(l oneOrMore) bool { return len(l) == 0 })
	if there && l == nil {
		return []string{}
	}
	return l
}

// oneOrMore is a list of texts, or one text.
type oneOrMore []string

func (l *oneOrMore) UnmarshalJSON(text []byte) error {
	if !strings.HasPrefix(string(text), `"`) {
		return json.Unmarshal(text, (*[]string)(l))
	}
	*l = make([]string, 1)
	return json.Unmarshal(text, &(*l)[0])
}
