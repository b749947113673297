package wire

import (
	"errors"
	"unicode/utf8"

	"gannet/internal/im"

	"google.golang.org/protobuf/encoding/protowire"
)

// Options is a set of keys of MsgData.options.
type Options uint16

// The keys that mean something (contract §3.8).
const (
	OptHistory Options = 1 << iota
	OptPersistent
	OptOfflinePush
	OptUnreadCount
	OptConversationUpdate
	OptSenderConversationUpdate
	OptSenderSync
	OptNotPrivate
	OptIsNotNotification
	OptIsSendMsg

	optionsEnd // one past the last
)

// optionKeys are the keys on the wire, in the order of the bits.
var optionKeys = [...]string{
	im.OptHistory, im.OptPersistent, im.OptOfflinePush, im.OptUnreadCount, im.OptConversationUpdate,
	im.OptSenderConversationUpdate, im.OptSenderSync, im.OptNotPrivate, im.OptIsNotNotification, im.OptIsSendMsg,
}

func optionOf(key []byte) Options {
	for i, k := range optionKeys {
		if string(key) == k {
			return 1 << i
		}
	}
	return 0
}

// Field numbers of sdkws.MsgData.
const (
	fieldSendID           = 1
	fieldRecvID           = 2
	fieldGroupID          = 3
	fieldClientMsgID      = 4
	fieldServerMsgID      = 5
	fieldSenderPlatformID = 6
	fieldSenderNickname   = 7
	fieldSenderFaceURL    = 8
	fieldSessionType      = 9
	fieldMsgFrom          = 10
	fieldContentType      = 11
	fieldContent          = 12
	fieldSeq              = 14
	fieldSendTime         = 15
	fieldCreateTime       = 16
	fieldStatus           = 17
	fieldIsRead           = 18
	fieldOptions          = 19
	fieldOfflinePushInfo  = 20
	fieldAtUserIDList     = 21
	fieldAttachedInfo     = 22
	fieldEx               = 23
)

// Msg is what the server's rules need of an encoded sdkws.MsgData. Its slices
// alias the scanned bytes.
type Msg struct {
	SendID, RecvID, GroupID           []byte
	ClientMsgID, ServerMsgID, Content []byte

	SenderPlatformID, SessionType, ContentType, Status int32
	Seq, SendTime                                      int64

	HasContent bool    // the content field is there, empty or not
	AtUsers    int     // length of atUserIDList
	Off        Options // options explicitly false; an absent one means true

	raw []byte
}

// errMsg is the one error of ScanMsg; what exactly is wrong helps nobody.
var errMsg = errors.New("wire: not a MsgData message")

// ScanMsg reads b into m in one pass without allocating, and accepts exactly
// what proto.Unmarshal accepts: last value of a field wins, fields of unknown
// number or other wire type are skipped, all text must be UTF-8. m is reset
// first; after an error its fields mean nothing.
func ScanMsg(b []byte, m *Msg) error {
	*m = Msg{raw: b}
	for len(b) > 0 {
		num, typ, n := consumeTag(b)
		if n < 0 {
			return errMsg
		}
		b = b[n:]
		switch {
		case typ == protowire.VarintType && num < 64 && 1<<num&varintFields != 0:
			var x uint64
			if x, n = protowire.ConsumeVarint(b); n >= 0 {
				m.setNumber(num, x)
			}
		case typ == protowire.BytesType && num < 64 && 1<<num&bytesFields != 0:
			var v []byte
			if v, n = protowire.ConsumeBytes(b); n >= 0 && !m.setBytes(num, v) {
				return errMsg
			}
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return errMsg
		}
		b = b[n:]
	}
	return nil
}

// The known fields by wire type, a bit per field number.
const (
	varintFields = 1<<fieldSenderPlatformID | 1<<fieldSessionType | 1<<fieldMsgFrom | 1<<fieldContentType |
		1<<fieldSeq | 1<<fieldSendTime | 1<<fieldCreateTime | 1<<fieldStatus | 1<<fieldIsRead
	bytesFields = 1<<fieldSendID | 1<<fieldRecvID | 1<<fieldGroupID | 1<<fieldClientMsgID | 1<<fieldServerMsgID |
		1<<fieldSenderNickname | 1<<fieldSenderFaceURL | 1<<fieldContent | 1<<fieldOptions |
		1<<fieldOfflinePushInfo | 1<<fieldAtUserIDList | 1<<fieldAttachedInfo | 1<<fieldEx
)

func consumeTag(b []byte) (protowire.Number, protowire.Type, int) {
	num, typ, n := protowire.ConsumeTag(b)
	if n >= 0 && num > protowire.MaxValidNumber {
		return 0, 0, -1
	}
	return num, typ, n
}

func (m *Msg) setNumber(num protowire.Number, x uint64) {
	switch num {
	case fieldSenderPlatformID:
		m.SenderPlatformID = int32(x)
	case fieldSessionType:
		m.SessionType = int32(x)
	case fieldContentType:
		m.ContentType = int32(x)
	case fieldSeq:
		m.Seq = int64(x)
	case fieldSendTime:
		m.SendTime = int64(x)
	case fieldStatus:
		m.Status = int32(x)
	}
}

// setBytes reports whether v is a valid value of field num.
func (m *Msg) setBytes(num protowire.Number, v []byte) bool {
	switch num {
	case fieldContent: // the only field of bytes: not text
		m.Content, m.HasContent = v, true
		return true
	case fieldOptions:
		return m.setOption(v)
	case fieldOfflinePushInfo:
		return validPushInfo(v)
	case fieldSendID:
		m.SendID = v
	case fieldRecvID:
		m.RecvID = v
	case fieldGroupID:
		m.GroupID = v
	case fieldClientMsgID:
		m.ClientMsgID = v
	case fieldServerMsgID:
		m.ServerMsgID = v
	case fieldAtUserIDList:
		m.AtUsers++
	}
	return utf8.Valid(v)
}

// setOption reads one map entry: string key = 1, bool value = 2; either may be
// absent and then is empty or false.
func (m *Msg) setOption(b []byte) bool {
	var key []byte
	var on bool
	for len(b) > 0 {
		num, typ, n := consumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		switch {
		case num == entryKeyField && typ == protowire.BytesType:
			if key, n = protowire.ConsumeBytes(b); n >= 0 && !utf8.Valid(key) {
				return false
			}
		case num == entryValueField && typ == protowire.VarintType:
			var x uint64
			x, n = protowire.ConsumeVarint(b)
			on = x != 0
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return false
		}
		b = b[n:]
	}
	if on {
		m.Off &^= optionOf(key)
	} else {
		m.Off |= optionOf(key)
	}
	return true
}

// validPushInfo reports whether b is a sdkws.OfflinePushInfo: texts 1–4 and 6,
// a bool 5.
func validPushInfo(b []byte) bool {
	for len(b) > 0 {
		num, typ, n := consumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		if typ == protowire.BytesType && (num <= 4 || num == 6) {
			var v []byte
			if v, n = protowire.ConsumeBytes(b); n >= 0 && !utf8.Valid(v) {
				return false
			}
		} else {
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

// AtUserIDs yields the elements of atUserIDList in order, by scanning again; the
// slices alias the scanned bytes.
func (m *Msg) AtUserIDs(yield func(userID []byte) bool) {
	if m.AtUsers == 0 {
		return
	}
	for b := m.raw; len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return
		}
		if num == fieldAtUserIDList && typ == protowire.BytesType {
			if v, _ := protowire.ConsumeBytes(b); !yield(v) {
				return
			}
		}
		b = b[n:]
	}
}

// ServerFields is what the server decides about a message.
type ServerFields struct {
	Seq              int64
	SendTime         int64 // milliseconds
	ServerMsgID      string
	Status           int32
	SenderPlatformID int32
	Off              Options // options to force to false
}

// AppendServerFields appends f to the client's bytes of a MsgData: the last value
// of a field wins. Every field is written, zeros too, so that none of the
// client's survives; options not in Off stay as the client set them.
func AppendServerFields(dst []byte, f *ServerFields) []byte {
	dst = protowire.AppendTag(dst, fieldServerMsgID, protowire.BytesType)
	dst = protowire.AppendString(dst, f.ServerMsgID)
	dst = appendVarintField(dst, fieldSenderPlatformID, uint64(f.SenderPlatformID))
	dst = appendVarintField(dst, fieldSeq, uint64(f.Seq))
	dst = appendVarintField(dst, fieldSendTime, uint64(f.SendTime))
	dst = appendVarintField(dst, fieldStatus, uint64(f.Status))
	for i, key := range optionKeys {
		if f.Off&(1<<i) == 0 {
			continue
		}
		dst = protowire.AppendTag(dst, fieldOptions, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(2+protowire.SizeBytes(len(key))+1))
		dst = protowire.AppendTag(dst, entryKeyField, protowire.BytesType)
		dst = protowire.AppendString(dst, key)
		dst = appendVarintField(dst, entryValueField, 0)
	}
	return dst
}

func appendVarintField(dst []byte, num protowire.Number, x uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), x)
}
