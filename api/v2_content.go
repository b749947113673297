package api

import (
	"bytes"
	"encoding/json"

	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
	"gannet/internal/wire"
)

// Content types that only the v2 dialect knows: they act on older messages.
const (
	v2Revoke          = 111
	v2ReadSingle      = 112
	v2ReadGroup       = 116
	v2RevokeAs        = 118
	v2CustomSilent    = 119
	v2CustomForOnline = 120
)

// v2Contents reads each type's content, so that wrong types and missing members
// are noted (contract §6). Members not named pass through.
var v2Contents = map[int32]func(*object){
	im.ContentText: func(o *object) { o.need("Text", o.text("text", "content") != "") },
	102: func(o *object) {
		o.text("sourcePath")
		for _, name := range []string{"sourcePicture", "bigPicture", "snapshotPicture"} {
			o.object(name)
		}
	},
	103: func(o *object) {
		o.text("uuid")
		o.text("soundPath")
		o.text("sourceUrl")
		o.real("dataSize")
		o.real("duration")
	},
	104: func(o *object) {
		for _, name := range []string{"videoPath", "videoUUID", "videoUrl", "videoType", "snapshotPath", "snapshotUUID", "snapshotUrl"} {
			o.text(name)
		}
		for _, name := range []string{"videoSize", "duration", "snapshotSize", "snapshotWidth", "snapshotHeight"} {
			o.real(name)
		}
	},
	105: func(o *object) {
		for _, name := range []string{"filePath", "uuid", "sourceUrl", "fileName"} {
			o.text(name)
		}
		o.real("fileSize")
	},
	im.ContentAtText: func(o *object) {
		o.text("text")
		o.length("AtUserList", o.list("atUserList"), atMax)
		o.truth("isAtSelf")
	},
	107: func(o *object) {
		o.text("title")
		o.list("abstractList")
	},
	108: func(*object) {},
	109: func(o *object) {
		o.text("description")
		o.real("longitude")
		o.real("latitude")
	},
	im.ContentCustom: v2Custom,
	v2Revoke:         func(o *object) { o.need("RevokeMsgClientID", o.text("revokeMsgClientID") != "") },
	v2ReadSingle:     v2Receipt,
	im.ContentTyping: func(o *object) { o.text("msgTips") },
	im.ContentQuote: func(o *object) {
		o.text("text")
		o.object("quoteMessage")
	},
	115: func(o *object) {
		o.real("index")
		o.text("data")
	},
	v2ReadGroup:       v2Receipt,
	117:               func(o *object) { o.text("text") },
	v2RevokeAs:        func(o *object) { o.need("ClientMsgID", o.text("clientMsgID", "revokeMsgClientID") != "") },
	v2CustomSilent:    v2Custom,
	v2CustomForOnline: v2Custom,
	im.ContentOANotification: func(o *object) {
		o.need("NotificationName", o.text("notificationName") != "")
		o.need("NotificationType", o.real("notificationType") != 0)
		o.need("Text", o.text("text") != "")
		for _, name := range []string{"notificationFaceURL", "url", "ex"} {
			o.text(name)
		}
		o.real("mixType")
		for _, name := range []string{"pictureElem", "soundElem", "videoElem", "fileElem"} {
			o.object(name)
		}
	},
}

func v2Custom(o *object) {
	_, there := o.present("data")
	o.need("Data", there)
	o.text("description")
	o.text("extension")
}

func v2Receipt(o *object) {
	list := o.list("msgIDList")
	o.need("MsgIDList", list != nil)
	o.length("MsgIDList", list, atMax)
}

// storedContent is content as clients of v3 read it.
func storedContent(contentType int32, o *object, raw json.RawMessage) ([]byte, error) {
	switch contentType {
	case im.ContentText:
		return json.Marshal(struct {
			Content string `json:"content"`
		}{o.text("text", "content")})
	case im.ContentOANotification:
		return wire.NotificationContent(raw)
	}
	var compact bytes.Buffer
	err := json.Compact(&compact, raw)
	return compact.Bytes(), err
}

// readPushInfo reads offlinePushInfo; nil when absent.
func readPushInfo(o *object) *sdkws.OfflinePushInfo {
	raw := o.object("offlinePushInfo")
	if raw == nil {
		return nil
	}
	p, err := parseObject(raw)
	if err != nil {
		if o.bad == nil {
			o.bad = err
		}
		return nil
	}
	info := &sdkws.OfflinePushInfo{
		Title: p.text("title"), Desc: p.text("desc"), Ex: p.text("ex"),
		IOSPushSound: p.text("iOSPushSound"), IOSBadgeCount: p.truth("iOSBadgeCount"),
	}
	if o.bad == nil {
		o.bad = p.bad
	}
	return info
}
