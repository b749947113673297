package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/bytedance/sonic"

	"gannet/internal/im"
)

const (
	// contentMax bounds a message's content in bytes, as the frame limit does for
	// messages that come over WebSocket.
	contentMax = 1 << 20
	// atMax is how many users one message may address.
	atMax = 1000
)

// kind is what a required member of a message's content must be.
type kind uint8

const (
	text   kind = iota // a non-empty string
	number             // a number but 0
	list               // 1 to atMax strings
)

// member is a required member; its path leads through nested objects.
type member struct {
	path string
	kind kind
}

// contents says which content types an administrator may send and what their
// content must have (contract §2.5.1). Everything else in it is passed on.
var contents = map[int32][]member{
	im.ContentText: {{"content", text}},
	102: {
		{"sourcePicture.type", text}, {"sourcePicture.width", number}, {"sourcePicture.height", number}, {"sourcePicture.url", text},
		{"bigPicture.type", text}, {"bigPicture.width", number}, {"bigPicture.height", number}, {"bigPicture.url", text},
		{"snapshotPicture.type", text}, {"snapshotPicture.width", number}, {"snapshotPicture.height", number}, {"snapshotPicture.url", text},
	},
	103: {{"sourceUrl", text}, {"duration", number}},
	104: {
		{"videoUrl", text}, {"videoType", text}, {"videoSize", number}, {"duration", number},
		{"snapshotUrl", text}, {"snapshotWidth", number}, {"snapshotHeight", number},
	},
	105:              {{"sourceUrl", text}, {"fileName", text}, {"fileSize", number}},
	im.ContentAtText: {{"atUserList", list}},
	109:              nil, // location
	im.ContentCustom: {{"data", text}},
	im.ContentQuote:  nil,
	117:              nil, // advanced text
	118:              nil, // markdown
	im.ContentOANotification: {
		{"notificationName", text}, {"notificationType", number}, {"text", text},
	},
}

// checkContent returns content as it is stored, with the users that it addresses.
// Its text is kept but for white space, so that unknown members and long numbers
// survive.
func checkContent(contentType int32, raw json.RawMessage) (content []byte, at []string, err error) {
	members, known := contents[contentType]
	switch {
	case !known:
		return nil, nil, im.ErrArgs.With("contentType %d cannot be sent", contentType)
	case len(raw) > contentMax:
		return nil, nil, im.ErrArgs.With("content has more than %d bytes", contentMax)
	case len(raw) == 0 || raw[0] != '{':
		return nil, nil, im.ErrArgs.With("content must be an object")
	}
	var object map[string]any
	if err := contentIn.Unmarshal(raw, &object); err != nil {
		return nil, nil, im.ErrArgs.With("content is not JSON")
	}
	for _, m := range members {
		v := find(object, m.path)
		if why := m.kind.refuse(v); why != "" {
			return nil, nil, im.ErrArgs.With("content.%s %s", m.path, why)
		}
		if m.kind == list {
			for _, id := range v.([]any) {
				at = append(at, id.(string))
			}
		}
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return nil, nil, im.ErrArgs.With("content is not JSON")
	}
	return compact.Bytes(), at, nil
}

// contentIn keeps numbers as their digits.
var contentIn = sonic.Config{UseNumber: true, CopyString: true, ValidateString: true}.Froze()

// find returns the member at path, whatever the case of its names; nil if none.
func find(object map[string]any, path string) any {
	name, rest, nested := strings.Cut(path, ".")
	v, ok := object[name]
	if !ok {
		for k := range object {
			if strings.EqualFold(k, name) {
				v = object[k]
			}
		}
	}
	if !nested {
		return v
	}
	inner, _ := v.(map[string]any)
	return find(inner, rest)
}

// refuse says why v is not of kind k; "" if it is.
func (k kind) refuse(v any) string {
	switch k {
	case text:
		if s, ok := v.(string); !ok || s == "" {
			return "must be a text"
		}
	case number:
		n, ok := v.(json.Number)
		if f, err := n.Float64(); !ok || err != nil || f == 0 {
			return "must be a number but 0"
		}
	case list:
		all, ok := v.([]any)
		if !ok || len(all) == 0 || len(all) > atMax {
			return fmt.Sprintf("must be a list of 1 to %d texts", atMax)
		}
		for _, e := range all {
			if text.refuse(e) != "" {
				return "must hold texts only"
			}
		}
	}
	return ""
}
