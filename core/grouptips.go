package core

import (
	"cmp"

	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
)

// opUser is the acting user as group notifications show him: his member record,
// or a made-up one for an administrator who is no member. Never nil: SDK clients
// crash on a null.
func (g *groupTx) opUser() (*sdkws.GroupMemberFullInfo, error) {
	m, err := g.member(g.from.UserID)
	if err != nil {
		return nil, err
	}
	if m == nil {
		m = &sdkws.GroupMemberFullInfo{GroupID: g.info.GroupID, UserID: g.from.UserID}
		if g.from.Admin {
			m.RoleLevel = roleAdmin
		}
	}
	return m, g.fill(m)
}

// fill gives m the names it has after this transaction.
func (g *groupTx) fill(m *sdkws.GroupMemberFullInfo) error {
	if u := g.renamed; u.GetUserID() == m.UserID {
		m.Nickname, m.FaceURL, m.AppMangerLevel = cmp.Or(m.Nickname, u.Nickname), cmp.Or(m.FaceURL, u.FaceURL), u.AppMangerLevel
		return nil
	}
	return g.c.fillMember(g.c.store.Latest(), m)
}

// filled completes copies of members with names and faces.
func (g *groupTx) filled(members []*sdkws.GroupMemberFullInfo) ([]*sdkws.GroupMemberFullInfo, error) {
	out := make([]*sdkws.GroupMemberFullInfo, 0, len(members))
	for _, m := range members {
		full := &sdkws.GroupMemberFullInfo{
			GroupID: m.GroupID, UserID: m.UserID, RoleLevel: m.RoleLevel, JoinTime: m.JoinTime, Nickname: m.Nickname, FaceURL: m.FaceURL,
			JoinSource: m.JoinSource, OperatorUserID: m.OperatorUserID, Ex: m.Ex, MuteEndTime: m.MuteEndTime, InviterUserID: m.InviterUserID,
		}
		if err := g.fill(full); err != nil {
			return nil, err
		}
		out = append(out, full)
	}
	return out, nil
}

// memberVersion is the version of the member list after this transaction, for
// tips that SDK clients apply without asking; zero makes them ask.
func (g *groupTx) memberVersion() (uint64, string) {
	if b := g.bumps[membersOf(g.info.GroupID)]; b != nil {
		return b.version, g.c.versionID(membersOf(g.info.GroupID))
	}
	return 0, ""
}

// tell notifies the group; extra users get it too.
func (g *groupTx) tell(kind int32, detail any, message *bool, extra ...string) error {
	n := notice{kind: kind, from: g.from.UserID, group: g.info.GroupID, detail: detail, trace: g.from.OperationID, extra: extra}
	if message != nil {
		rule := noticeRules[kind]
		rule.asMessage = *message
		n.rule = &rule
	}
	return g.notify(n)
}

func userIDs(members []*sdkws.GroupMemberFullInfo) (ids []string) {
	for _, m := range members {
		ids = append(ids, m.UserID)
	}
	return ids
}

func (g *groupTx) tellCreated(members []*sdkws.GroupMemberFullInfo, message *bool) error {
	op, err := g.opUser()
	if err != nil {
		return err
	}
	// A longer list would only be a longer frame: clients fetch the members anyway.
	list, err := g.filled(members[:min(len(members), 2*tipsMembersMax)])
	if err != nil {
		return err
	}
	tips := &sdkws.GroupCreatedTips{
		Group: g.info, OpUser: op, MemberList: list, OperationTime: g.now, GroupOwnerUser: list[0],
	}
	_, tips.GroupMemberVersionID = g.memberVersion()
	if err := g.tell(im.NotifyGroupCreated, tips, message); err != nil || g.info.Notification == "" {
		return err
	}
	return g.tell(im.NotifyGroupAnnouncement, &sdkws.GroupInfoSetAnnouncementTips{OpUser: op, Group: g.info}, nil)
}

// inBatches calls send for the members in batches that one notification names.
// Only a single batch may carry the version: clients apply it as the whole change.
func (g *groupTx) inBatches(members []*sdkws.GroupMemberFullInfo, send func(batch []*sdkws.GroupMemberFullInfo, version uint64, id string) error) error {
	version, id := g.memberVersion()
	if len(members) > tipsMembersMax {
		version, id = 0, ""
	}
	for len(members) > 0 {
		n := min(len(members), tipsMembersMax)
		batch, err := g.filled(members[:n])
		if err != nil {
			return err
		}
		if err := send(batch, version, id); err != nil {
			return err
		}
		members = members[n:]
	}
	return nil
}

func (g *groupTx) tellInvited(members []*sdkws.GroupMemberFullInfo, message *bool) error {
	op, err := g.opUser()
	if err != nil {
		return err
	}
	return g.inBatches(members, func(batch []*sdkws.GroupMemberFullInfo, version uint64, id string) error {
		return g.tell(im.NotifyMemberInvited, &sdkws.MemberInvitedTips{
			Group: g.info, OpUser: op, InvitedUserList: batch, OperationTime: g.now,
			GroupMemberVersion: version, GroupMemberVersionID: id, InviterUser: op,
		}, message)
	})
}

func (g *groupTx) tellKicked(members []*sdkws.GroupMemberFullInfo, message *bool) error {
	op, err := g.opUser()
	if err != nil {
		return err
	}
	return g.inBatches(members, func(batch []*sdkws.GroupMemberFullInfo, version uint64, id string) error {
		return g.tell(im.NotifyMemberKicked, &sdkws.MemberKickedTips{
			Group: g.info, OpUser: op, KickedUserList: batch, OperationTime: g.now,
			GroupMemberVersion: version, GroupMemberVersionID: id,
		}, message, userIDs(batch)...)
	})
}

func (g *groupTx) tellEntered(m *sdkws.GroupMemberFullInfo) error {
	list, err := g.filled([]*sdkws.GroupMemberFullInfo{m})
	if err != nil {
		return err
	}
	version, id := g.memberVersion()
	return g.tell(im.NotifyMemberEnter, &sdkws.MemberEnterTips{
		Group: g.info, EntrantUser: list[0], OperationTime: g.now, GroupMemberVersion: version, GroupMemberVersionID: id,
	}, nil)
}

func (g *groupTx) tellQuit(m *sdkws.GroupMemberFullInfo) error {
	version, id := g.memberVersion()
	return g.tell(im.NotifyMemberQuit, &sdkws.MemberQuitTips{
		Group: g.info, QuitUser: m, OperationTime: g.now, GroupMemberVersion: version, GroupMemberVersionID: id,
	}, nil, m.UserID)
}

func (g *groupTx) tellDismissed(message *bool) error {
	op, err := g.opUser()
	if err != nil {
		return err
	}
	return g.tell(im.NotifyGroupDismissed, &sdkws.GroupDismissedTips{Group: g.info, OpUser: op, OperationTime: g.now}, message)
}
