package api

import (
	"encoding/json"
	"strings"

	"github.com/openimsdk/protocol/sdkws"

	"gannet/core"
)

// v2Group is a group as create_group answers it: what is empty is left out.
type v2Group struct {
	GroupID       string `json:"groupID,omitempty"`
	GroupName     string `json:"groupName,omitempty"`
	Notification  string `json:"notification,omitempty"`
	Introduction  string `json:"introduction,omitempty"`
	FaceURL       string `json:"faceURL,omitempty"`
	OwnerUserID   string `json:"ownerUserID,omitempty"`
	MemberCount   uint32 `json:"memberCount,omitempty"`
	Ex            string `json:"ex,omitempty"`
	Status        int32  `json:"status,omitempty"`
	CreatorUserID string `json:"creatorUserID,omitempty"`
	GroupType     int32  `json:"groupType,omitempty"`
}

// readMembers reads the first members of a group by role. A second owner is left
// out; the roles of v3 are understood too.
func readMembers(o *object) (admins, ordinary []string) {
	list, there := read(o, []string{"memberList"}, func(l []json.RawMessage) bool { return len(l) == 0 })
	o.need("MemberList", there)
	for _, text := range list {
		m, err := parseObject(text)
		if err != nil {
			if o.bad == nil {
				o.bad = err
			}
			return nil, nil
		}
		id, role := m.text("userID", "uid"), m.number("roleLevel")
		if o.bad == nil {
			o.bad = m.bad
		}
		switch role {
		case 0, 1, 20:
			ordinary = append(ordinary, id)
		case 3, 60:
			admins = append(admins, id)
		case 2, 100:
		default:
			o.invalid("RoleLevel", "oneof")
		}
	}
	return admins, ordinary
}

func (v v2) createGroup(o *object) spoken {
	admins, ordinary := readMembers(o)
	owner := o.text("ownerUserID")
	o.need("OwnerUserID", owner != "")
	info := &sdkws.GroupInfo{
		GroupID: o.atMost("GroupID", o.text("groupID"), v2IDMax), GroupName: o.text("groupName"), Notification: o.text("notification"),
		Introduction: o.text("introduction"), FaceURL: o.text("faceURL"), Ex: o.text("ex"),
	}
	kind := o.number("groupType")
	o.oneOf("GroupType", int64(kind), 0, 1, 2)
	return func(from core.Caller) (members, error) {
		g, err := v.core.CreateGroupLenient(from, info, owner, admins, ordinary)
		if err != nil {
			return nil, err
		}
		return as("data", &v2Group{
			GroupID: g.GroupID, GroupName: g.GroupName, Notification: g.Notification, Introduction: g.Introduction,
			FaceURL: g.FaceURL, OwnerUserID: g.OwnerUserID, MemberCount: g.MemberCount, Ex: g.Ex, Status: g.Status,
			CreatorUserID: g.CreatorUserID, GroupType: kind,
		}), nil
	}
}

func (v v2) inviteToGroup(o *object) spoken {
	group := o.text("groupID")
	o.need("GroupID", group != "")
	ids := o.list("invitedUserIDList", "uidList")
	o.need("InvitedUserIDList", ids != nil)
	reason := o.text("reason")
	return func(from core.Caller) (members, error) {
		joined, err := v.core.InviteLenient(from, group, ids, reason)
		return as("data", results(ids, joined, true)), err
	}
}

func (v v2) kickFromGroup(o *object) spoken {
	group := o.text("groupID")
	o.need("GroupID", group != "")
	list, there := read(o, []string{"kickedUserIDList", "uidListInfo"}, func(l []idOrUser) bool { return len(l) == 0 })
	o.need("KickedUserIDList", there)
	o.text("reason")
	return func(from core.Caller) (members, error) {
		if len(list) == 0 {
			return nil, refused(v2ArgsFailed, "args failed")
		}
		ids := make([]string, len(list))
		for i, id := range list {
			ids[i] = string(id)
		}
		kicked, err := v.core.KickLenient(from, group, ids)
		return as("data", results(ids, kicked, true)), err
	}
}

// idOrUser is a user's ID, alone or in an object.
type idOrUser string

func (id *idOrUser) UnmarshalJSON(text []byte) error {
	if strings.HasPrefix(string(text), "{") {
		var u struct {
			UserID string `json:"userID"`
		}
		err := json.Unmarshal(text, &u)
		*id = idOrUser(u.UserID)
		return err
	}
	return json.Unmarshal(text, (*string)(id))
}
