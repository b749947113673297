package im

import "fmt"

// Error is an answer that a caller gets instead of a result. Code and Name are
// OpenIM's (sdk-websocket contract §8.1); Detail says what was wrong with this
// very call and may be shown to the caller. Causes that must not leave the
// process are wrapped around an Error, never put into Detail.
type Error struct {
	Code   int
	Name   string
	Detail string
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("%d %s", e.Code, e.Name)
	}
	return fmt.Sprintf("%s: %d %s", e.Detail, e.Code, e.Name)
}

// Is makes errors.Is match by code, so that detail does not matter.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// With returns a copy of e that carries detail for this call.
func (e *Error) With(format string, args ...any) *Error {
	return &Error{Code: e.Code, Name: e.Name, Detail: fmt.Sprintf(format, args...)}
}

// The closed table of request errors. Codes and names equal OpenIM's; a test
// compares it with the table in docs/protocol.md. Codes 1501–1507 log an SDK
// client out wherever they appear, so only token checks may return them.
var (
	ErrInternal       = define(500, "ServerInternalError")
	ErrArgs           = define(1001, "ArgsError")
	ErrNoPermission   = define(1002, "NoPermissionError")
	ErrDuplicateKey   = define(1003, "DuplicateKeyError")
	ErrRecordNotFound = define(1004, "RecordNotFoundError")

	ErrUserIDNotFound    = define(1101, "UserIDNotFoundError")
	ErrRegisteredAlready = define(1102, "RegisteredAlreadyError")

	ErrGroupIDNotFound     = define(1201, "GroupIDNotFoundError")
	ErrGroupIDExisted      = define(1202, "GroupIDExisted")
	ErrNotInGroup          = define(1203, "NotInGroupYetError")
	ErrDismissedAlready    = define(1204, "DismissedAlreadyError")
	ErrGroupType           = define(1205, "GroupTypeNotSupport")
	ErrGroupRequestHandled = define(1206, "GroupRequestHandled")

	ErrCanNotAddYourself    = define(1301, "CanNotAddYourselfError")
	ErrBlockedByPeer        = define(1302, "BlockedByPeer")
	ErrNotPeersFriend       = define(1303, "NotPeersFriend")
	ErrRelationshipAlready  = define(1304, "RelationshipAlreadyError")
	ErrFriendRequestHandled = define(1305, "FriendRequestHandled")

	ErrMutedInGroup     = define(1402, "MutedInGroup")
	ErrMutedGroup       = define(1403, "MutedGroup")
	ErrMsgAlreadyRevoke = define(1404, "MsgAlreadyRevoke")

	ErrTokenExpired     = define(1501, "TokenExpiredError")
	ErrTokenInvalid     = define(1502, "TokenInvalidError")
	ErrTokenMalformed   = define(1503, "TokenMalformedError")
	ErrTokenNotValidYet = define(1504, "TokenNotValidYetError")
	ErrTokenUnknown     = define(1505, "TokenUnknownError")
	ErrTokenKicked      = define(1506, "TokenKickedError")
	ErrTokenNotExist    = define(1507, "TokenNotExistError")

	ErrConnOverMax = define(1601, "ConnOverMaxNumLimit")
	ErrConnArgs    = define(1602, "args err, need token, sendID, platformID")

	// ErrBusy is gannet's own: a bounded queue was full, or the server is
	// draining. The caller may try again later. OpenIM has no such code; 90004
	// (NetworkError) is the one its clients already treat as passing.
	ErrBusy = define(90004, "NetworkError")
)

// Errors lists the whole table in the order of definition.
func Errors() []*Error { return table }

var table []*Error

func define(code int, name string) *Error {
	e := &Error{Code: code, Name: name}
	table = append(table, e)
	return e
}
