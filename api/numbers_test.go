package api

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// jsExact is the largest integer that JavaScript reads exactly.
const jsExact = 1<<53 - 1

// What of a JSON text is a string; what of the rest is a number.
var (
	jsonText   = regexp.MustCompile(`"(\\.|[^"\\])*"`)
	jsonNumber = regexp.MustCompile(`-?[0-9][0-9.eE+-]*`)
)

// TestNumbers is acceptance A10: whole numbers come back as they were sent, as
// digits, and those that the server makes up are exact in JavaScript too.
func TestNumbers(t *testing.T) {
	r := newRig(t)
	u := r.user("u1")
	r.user("u2")
	r.must("/friend/import_friend", r.admin, obj{"ownerUserID": "u1", "friendUserIDs": []string{"u2"}}, nil)

	// A version that the server never gave, beyond what a float64 holds, is no error
	// and no truth: the client starts over.
	for _, version := range []string{"9007199254740993", "18446744073709551615"} {
		var sync struct {
			Full    bool
			Version uint64
		}
		body := fmt.Sprintf(`{"userID":"u1","versionID":"none","version":%s}`, version)
		r.must("/friend/get_incremental_friends", u, json.RawMessage(body), &sync)
		if !sync.Full || sync.Version == 0 || sync.Version > jsExact {
			t.Errorf("version %s: %+v", version, sync)
		}
	}
	// What a caller sets comes back digit for digit.
	const mark = 9007199254740993
	add := obj{"userID": "u1", "type": 1, "uuid": "c1", "value": "v"}
	r.must("/user/process_user_command_add", u, add, nil)
	before := time.Now().UnixMilli()
	m := textTo("u2", "hi")
	m["sendID"] = "u1"
	var sent struct{ SendTime int64 }
	r.must("/msg/send_msg", r.admin, m, &sent)
	if after := time.Now().UnixMilli(); sent.SendTime < before || sent.SendTime > after {
		t.Errorf("sendTime %d is not between %d and %d ms", sent.SendTime, before, after)
	}
	conv := obj{"conversationID": "si_u1_u2", "conversationType": 1, "userID": "u2", "msgDestructTime": mark, "ex": fmt.Sprint(mark)}
	r.must("/conversation/set_conversations", u, obj{"userIDs": []string{"u1"}, "conversation": conv}, nil)
	var got struct {
		Conversation struct {
			MsgDestructTime int64
			Ex              string
		}
	}
	r.must("/conversation/get_conversation", u, obj{"ownerUserID": "u1", "conversationID": "si_u1_u2"}, &got)
	if got.Conversation.MsgDestructTime != mark || got.Conversation.Ex != fmt.Sprint(mark) {
		t.Errorf("set %d, got %+v", int64(mark), got)
	}
	// Every number is an integer in plain digits, and but for the caller's own exact
	// in JavaScript.
	page := obj{"pageNumber": 1, "showNumber": 100}
	for path, body := range map[string]obj{
		"/user/get_users_info":                    {"userIDs": []string{"u1", "u2"}},
		"/user/process_user_command_get_all":      {"userID": "u1"},
		"/friend/get_friend_list":                 {"userID": "u1", "pagination": page},
		"/friend/get_incremental_friends":         {"userID": "u1"},
		"/conversation/get_all_conversations":     {"ownerUserID": "u1"},
		"/conversation/get_full_conversation_ids": {"userID": "u1"},
		"/msg/newest_seq":                         {"userID": "u1"},
		"/msg/pull_msg_by_seq":                    {"userID": "u1", "seqRanges": []obj{{"conversationID": "si_u1_u2", "begin": 1, "end": 1, "num": 1}}, "order": 0},
	} {
		a := r.must(path, u, body, nil)
		for _, digits := range jsonNumber.FindAllString(jsonText.ReplaceAllString(a.Body, ""), -1) {
			switch n, err := strconv.ParseInt(digits, 10, 64); {
			case err != nil:
				t.Errorf("%s: %s is no integer", path, digits)
			case n > jsExact && n != mark:
				t.Errorf("%s: %s is beyond what JavaScript holds", path, digits)
			}
		}
	}
}
