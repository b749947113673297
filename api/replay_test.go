package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// example is one request and answer of the documents that this API implements.
type example struct {
	Name, Dialect, Method, Path string
	Headers                     map[string]string
	Request, Response           map[string]any
}

// asShown are parts of the answers whose values the fixture decides.
var asShown = map[string]string{
	"user_register_000":     `"userID":"openIM1111"`,
	"v3_user_token":         `"expireTimeSeconds":7776000`,
	"v3_account_check":      `[{"userID":"11111111","accountStatus":"unregistered"},{"userID":"11111112","accountStatus":"registered"}]`,
	"v3_get_users":          `"total":19`,
	"create_group":          `"ownerUserID":"19828950910","memberCount":2,"creatorUserID":"openIM123456"`,
	"invite_user_to_group":  `[{"userID":"18349115126","result":0}]`,
	"kick_group":            `[{"userID":"18666662412","result":0}]`,
	"import_friend":         `[{"userID":"21979710c3fe454d","result":0},{"userID":"3434344","result":0}]`,
	"delete_user":           `"failedUidList":["456"]`,
	"get_user_info":         `"data":[]`,
	"manager_account_check": `[{"userID":"18349115126","accountStatus":"registered"},{"userID":"111","accountStatus":"unregistered"},{"userID":"222","accountStatus":"unregistered"},{"userID":"17396220460","accountStatus":"registered"}]`,
	"manager_get_users_online_status": `"successResult":[{"userID":"18349115126","status":"online","detailPlatformStatus":[{"platform":"Android","status":"online"}]},` +
		`{"userID":"45","status":"offline"},{"userID":"17396220460","status":"online","detailPlatformStatus":[{"platform":"Web","status":"online"}]},{"userID":"sadsdf","status":"offline"}]`,
}

// The documents' examples, in their order, against a fresh server (contract §10).
func TestExamples(t *testing.T) {
	text, err := os.ReadFile("testdata/admin-api-examples.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []example
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 25 {
		t.Fatalf("%d examples", len(all))
	}
	p := startProcess(t, t.TempDir())
	p.register("19828950910", "18666662412", "18349115126", "17396220460", "f732156059eeb5d0", "21979710c3fe454d", "3434344",
		"06577eb8ed751416", "1308", "1514", "1111111222", "123", "343")
	p.connect("18349115126", 2)
	p.connect("17396220460", 5)
	vars := map[string]string{}
	var whole example
	for _, e := range all {
		if e.Name == "manager_send_msg" {
			whole = e
		}
		if strings.HasSuffix(e.Name, "_fragment") {
			e = merged(whole, e)
		}
		answer := replay(t, p, e, vars)
		if want := asShown[e.Name]; e.Response != nil && !strings.Contains(answer, want) {
			t.Errorf("%s: %s lacks %s", e.Name, answer, want)
		}
	}
	sent := regexp.MustCompile(`^\{"errCode":0,"errMsg":"","sendTime":1[0-9]{18},"msgID":"[0-9a-f]{32}"\}$`)
	if answer := replay(t, p, whole, vars); !sent.MatchString(strings.TrimSpace(answer)) {
		t.Error(answer)
	}
	_, info, err := p.post("10000", "/user/get_user_info",
		`{"operationID":"o","uidList":["06577eb8ed751416","1308","nobody","1514","1308"]}`, "token: "+vars["${ADMIN_TOKEN}"])
	want := `{"errCode":0,"errMsg":"","data":[{"uid":"06577eb8ed751416","name":"nick 06577eb8ed751416","icon":"","gender":0,"mobile":"","birth":"","email":"","ex":""},` +
		`{"uid":"1308","name":"nick 1308","icon":"","gender":0,"mobile":"","birth":"","email":"","ex":""},{"uid":"1514","name":"nick 1514","icon":"","gender":0,"mobile":"","birth":"","email":"","ex":""},` +
		`{"uid":"1308","name":"nick 1308","icon":"","gender":0,"mobile":"","birth":"","email":"","ex":""}]}`
	if err != nil || info != want {
		t.Errorf("%s %v", info, err)
	}
}

// merged is send_msg's example with the content of a fragment.
func merged(whole, fragment example) example {
	e := whole
	e.Name, e.Response = fragment.Name, nil
	e.Request = maps.Clone(whole.Request)
	e.Request["content"] = fragment.Request["content"]
	if _, custom := fragment.Request["content"].(map[string]any)["data"]; custom {
		e.Request["contentType"] = 110
	}
	return e
}

// replay makes an example's request and compares the answer's shape with the
// example's. Tokens and the group's ID go into vars.
func replay(t *testing.T, p *process, e example, vars map[string]string) string {
	t.Helper()
	body, err := json.Marshal(e.Request)
	if err != nil {
		t.Fatal(err)
	}
	text := string(body)
	if id := vars["group"]; id != "" {
		text = strings.ReplaceAll(text, "f69e9aae6edb2c86b3380b7b0125e579", id)
	}
	var header []string
	for name, value := range e.Headers {
		header = append(header, name+": "+strings.NewReplacer("${ADMIN_TOKEN}", vars["${ADMIN_TOKEN}"], "${TOKEN}", vars["${TOKEN}"]).Replace(value))
	}
	port := map[string]string{"v2": "10000", "v3": "10002"}[e.Dialect]
	status, answer, err := p.post(port, e.Path, text, header...)
	if err != nil {
		t.Fatalf("%s: %v", e.Name, err)
	}
	if e.Name == "user_register_001" { // the user of user_register_000
		if status != http.StatusInternalServerError || !strings.Contains(answer, `"errCode":500,"errMsg":"db failed`) {
			t.Errorf("%s: %d %s", e.Name, status, answer)
		}
		return answer
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(answer), &got); err != nil {
		t.Fatalf("%s: %v: %s", e.Name, err, answer)
	}
	if status != http.StatusOK || got["errCode"] != 0.0 || got["errMsg"] != "" {
		t.Errorf("%s: %d %s", e.Name, status, answer)
	}
	if e.Response != nil {
		if e.Name == "user_get_users_online_status" { // its user is on one platform here
			e.Response["data"].([]any)[0].(map[string]any)["detailPlatformStatus"] = []any{map[string]any{"platform": "", "status": ""}}
		}
		if why := differs(got, e.Response, e.Name); why != "" {
			t.Errorf("%s: %s: %s", e.Name, why, answer)
		}
	}
	if data, ok := got["data"].(map[string]any); ok {
		switch e.Name {
		case "admin_user_token_003":
			vars["${ADMIN_TOKEN}"] = data["token"].(string)
		case "v3_admin_user_token":
			vars["${TOKEN}"] = data["token"].(string)
		case "create_group":
			vars["group"] = data["groupID"].(string)
		}
	}
	return answer
}

// differs says in which member's name or type got is not like want; lists are
// compared by their first items.
func differs(got, want any, at string) string {
	if reflect.TypeOf(got) != reflect.TypeOf(want) {
		return at + " has another type"
	}
	switch want := want.(type) {
	case map[string]any:
		got := got.(map[string]any)
		names := slices.Sorted(maps.Keys(want))
		if !slices.Equal(names, slices.Sorted(maps.Keys(got))) {
			return at + " has other members"
		}
		for _, name := range names {
			if why := differs(got[name], want[name], at+"."+name); why != "" {
				return why
			}
		}
	case []any:
		if got := got.([]any); len(got) > 0 && len(want) > 0 {
			return differs(got[0], want[0], at+"[0]")
		}
	}
	return ""
}
