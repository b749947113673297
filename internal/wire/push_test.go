package wire

import (
	"fmt"
	"testing"

	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"
)

func TestPushDecodes(t *testing.T) {
	small, large := fullMsg(), fullMsg()
	large.Content = make([]byte, 100_000)
	for v := range Variant(Variants) {
		for _, id := range []string{"si_alice_bob", "sg_group", "sn_a_b", "n_alice_bob", "nothing", ""} {
			for _, list := range [][]*sdkws.MsgData{nil, {small}, {small, small, small}, {{}}, {large, small}} {
				t.Run(fmt.Sprint(v, id, len(list)), func(t *testing.T) {
					var msgs [][]byte
					for _, m := range list {
						msgs = append(msgs, marshal(t, m))
					}
					want := map[string]*sdkws.PullMsgs{id: {Msgs: list}}
					wanted := &sdkws.PushMessages{Msgs: want}
					if len(id) > 1 && id[:2] == "n_" {
						wanted = &sdkws.PushMessages{NotificationMsgs: want}
					}
					var r GeneralWsResp
					sdkDecode(t, unframe(t, AppendPush(nil, v, "trace", id, msgs...)), v, &r)
					if r.ReqIdentifier != PushMsg || r.OperationID != "trace" || r.MsgIncr != "" || r.ErrCode != 0 {
						t.Fatalf("envelope %d %q %q %d", r.ReqIdentifier, r.OperationID, r.MsgIncr, r.ErrCode)
					}
					var got sdkws.PushMessages
					if err := proto.Unmarshal(r.Data, &got); err != nil {
						t.Fatal(err)
					}
					if !proto.Equal(&got, wanted) {
						t.Fatalf("got %.300v\nwant %.300v", &got, wanted)
					}
				})
			}
		}
	}
}
