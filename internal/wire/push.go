package wire

import (
	"sync"

	"gannet/internal/im"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of sdkws.PushMessages, of its map entries and of sdkws.PullMsgs.
const (
	pushMsgsField         = 1
	pushNotificationField = 2
	entryKeyField         = 1
	entryValueField       = 2
	pullMsgsField         = 1
)

// push is the sizes of a PushMessages with one conversation.
type push struct {
	conversationID string
	msgs           [][]byte
	pullSize       int // of the PullMsgs
	entrySize      int // of the map entry around it
	size           int // of the whole
}

func newPush(conversationID string, msgs [][]byte) push {
	p := push{conversationID: conversationID, msgs: msgs}
	for _, m := range msgs {
		p.pullSize += protowire.SizeTag(pullMsgsField) + protowire.SizeBytes(len(m))
	}
	p.entrySize = protowire.SizeTag(entryKeyField) + protowire.SizeBytes(len(conversationID)) +
		protowire.SizeTag(entryValueField) + protowire.SizeBytes(p.pullSize)
	p.size = protowire.SizeTag(pushMsgsField) + protowire.SizeBytes(p.entrySize)
	return p
}

func (p *push) append(dst []byte) []byte {
	field := protowire.Number(pushMsgsField)
	if im.IsNotification(p.conversationID) {
		field = pushNotificationField
	}
	dst = protowire.AppendTag(dst, field, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(p.entrySize))
	dst = protowire.AppendTag(dst, entryKeyField, protowire.BytesType)
	dst = protowire.AppendString(dst, p.conversationID)
	dst = protowire.AppendTag(dst, entryValueField, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(p.pullSize))
	for _, m := range p.msgs {
		dst = protowire.AppendTag(dst, pullMsgsField, protowire.BytesType)
		dst = protowire.AppendBytes(dst, m)
	}
	return dst
}

// AppendPush appends one complete frame that pushes msgs (MsgData bytes, in seq
// order) of one conversation: SDKs mix up several conversations in one push.
// Conversations whose ID starts with "n_" go to notificationMsgs. Allocations
// are AppendResponse's.
func AppendPush(dst []byte, v Variant, operationID, conversationID string, msgs ...[]byte) []byte {
	r := Response{ReqIdentifier: PushMsg, OperationID: bytesOf(operationID)}
	f := r.values()
	p := newPush(conversationID, msgs)
	dst, start := openFrame(dst, v)
	if v&VariantJSON != 0 {
		scratch := pushScratch.Get().(*[]byte)
		data := p.append((*scratch)[:0])
		dst = responseShape.appendJSON(dst, &f, data)
		if cap(data) <= keptBufferMax {
			*scratch = data
		}
		pushScratch.Put(scratch)
	} else {
		dst = responseShape.appendGob(dst, &f, p.size)
		dst = append(p.append(dst), gobEnd)
	}
	return closeFrame(dst, start, v, storedMax*len(msgs))
}

// pushScratch holds pushes on their way into base64.
var pushScratch = sync.Pool{New: func() any { return new([]byte) }}
