package im

import "strings"

// Platform is OpenIM's number for a device class. 1..11; 0 means none.
type Platform int32

// The platforms, by OpenIM's numbers.
const (
	PlatformIOS Platform = iota + 1
	PlatformAndroid
	PlatformWindows
	PlatformOSX
	PlatformWeb
	PlatformMiniWeb
	PlatformLinux
	PlatformAPad
	PlatformIPad
	PlatformAdmin
	PlatformHarmonyOS
)

var platforms = [...]struct{ name, class string }{
	{},
	{"IOS", "Mobile"}, {"Android", "Mobile"}, {"Windows", "PC"}, {"OSX", "PC"}, {"Web", "Web"},
	{"MiniWeb", "MiniWeb"}, {"Linux", "PC"}, {"APad", "Pad"}, {"IPad", "Pad"}, {"Admin", "Admin"},
	{"HarmonyOS", "Mobile"},
}

// Valid reports whether p is a platform that clients may log in with.
func (p Platform) Valid() bool { return p >= PlatformIOS && p <= PlatformHarmonyOS }

// String is the platform's name on the wire ("IOS", "Android", …).
func (p Platform) String() string {
	if !p.Valid() {
		return "unknown"
	}
	return platforms[p].name
}

// Class groups platforms for multi-login policies: Mobile, PC, Pad, Web, MiniWeb, Admin.
func (p Platform) Class() string {
	if !p.Valid() {
		return ""
	}
	return platforms[p].class
}

// PlatformByName is the inverse of String; 0 when unknown.
func PlatformByName(name string) Platform {
	for p := PlatformIOS; p.Valid(); p++ {
		if platforms[p].name == name {
			return p
		}
	}
	return 0
}

// Session types of OpenIM's wire (MsgData.sessionType, Conversation.conversationType).
const (
	SingleChat       = 1
	WriteGroupChat   = 2 // obsolete in v3; refused
	GroupChat        = 3
	NotificationChat = 4
)

// Seq is a position in a conversation: 1, 2, 3 … without gap. 0 means not stored.
type Seq = int64

// SingleID is the chat conversation of two users; the order of a and b does not matter.
func SingleID(a, b string) string { return pairID("si_", a, b) }

// SystemID is the conversation between a notification account and a user.
func SystemID(a, b string) string { return pairID("sn_", a, b) }

// GroupID is the chat conversation of a group.
func GroupID(group string) string { return "sg_" + group }

// NotifyPairID is the notification conversation of two users, or of one user with himself.
func NotifyPairID(a, b string) string { return pairID("n_", a, b) }

// NotifyGroupID is the notification conversation of a group.
func NotifyGroupID(group string) string { return "n_" + group }

// IsNotification reports whether id is a notification conversation (n_…).
func IsNotification(id string) bool { return strings.HasPrefix(id, "n_") }

// TwinID is the notification conversation that accompanies a chat conversation:
// the text before the first '_' replaced by "n".
func TwinID(chatID string) string {
	if i := strings.IndexByte(chatID, '_'); i >= 0 {
		return "n" + chatID[i:]
	}
	return ""
}

func pairID(prefix, a, b string) string {
	if a > b {
		a, b = b, a
	}
	return prefix + a + "_" + b
}
