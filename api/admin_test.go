package api

import (
	"testing"
	"time"
)

// TestNotificationAccounts makes one, lets it speak, and keeps others out.
func TestNotificationAccounts(t *testing.T) {
	r := newRig(t)
	u := r.user("u1")
	const add = "/user/add_notification_account"
	var made struct {
		UserID, NickName string
		AppMangerLevel   int32
	}
	r.must(add, r.admin, obj{"nickName": "News", "faceURL": "f"}, &made)
	if len(made.UserID) != 10 || made.AppMangerLevel != 3 {
		t.Errorf("%+v", made)
	}
	r.must(add, r.admin, obj{"userID": "news", "nickName": "Second", "faceURL": "f", "appMangerLevel": 4}, nil)
	r.refused(add, r.admin, obj{"userID": "news", "nickName": "Again", "faceURL": "f"}, 1001, "in use")
	r.refused(add, r.admin, obj{"nickName": "x", "faceURL": "f", "appMangerLevel": 2}, 1001, "")
	r.refused(add, u, obj{"nickName": "x", "faceURL": "f"}, 1002, "")
	r.refused("/auth/get_user_token", r.admin, obj{"userID": "news", "platformID": 1}, 1001, "")
	r.must("/user/update_notification_account", r.admin, obj{"userID": "news", "nickName": "Renamed"}, nil)
	r.refused("/user/update_notification_account", r.admin, obj{"userID": "u1", "nickName": "x"}, 1001, "")
	var found struct {
		Total                int
		NotificationAccounts []struct{ UserID, NickName string }
	}
	page := obj{"pageNumber": 1, "showNumber": 10}
	r.must("/user/search_notification_account", r.admin, obj{"keyword": "renam", "pagination": page}, &found)
	if found.Total != 1 || found.NotificationAccounts[0].UserID != "news" {
		t.Errorf("%+v", found)
	}
	r.refused("/user/search_notification_account", u, obj{"pagination": page}, 1002, "")
}

// TestSearchAndStatistics counts what was registered, made and said today.
func TestSearchAndStatistics(t *testing.T) {
	r := newRig(t)
	u := r.user("u1")
	r.user("u2")
	r.must("/group/create_group", r.admin, obj{"groupInfo": obj{"groupType": 2, "groupName": "g", "groupID": "g1"},
		"ownerUserID": "u1", "memberUserIDs": []string{"u2"}}, nil)
	for range 3 {
		m := textTo("u2", "hi")
		m["sendID"] = "u1"
		r.must("/msg/send_msg", r.admin, m, nil)
	}
	page := obj{"pageNumber": 1, "showNumber": 2}
	today := time.Now().UTC()
	var logs struct {
		ChatLogs []struct {
			ChatLog struct {
				SendID, RecvNickname, Content string
				Seq                           int64
			}
		}
		ChatLogsNum int
	}
	r.must("/msg/search_msg", r.admin, obj{"sendID": "u1", "recvID": "u2", "sendTime": today.Format(time.DateOnly), "pagination": page}, &logs)
	if logs.ChatLogsNum != 3 || len(logs.ChatLogs) != 2 || logs.ChatLogs[0].ChatLog.Seq != 1 {
		t.Errorf("%+v", logs)
	}
	r.must("/msg/search_msg", r.admin, obj{"sendID": "nobody", "pagination": page}, &logs)
	if logs.ChatLogsNum != 0 {
		t.Errorf("%+v", logs)
	}
	r.refused("/msg/search_msg", r.admin, obj{"sendTime": "yesterday", "pagination": page}, 1001, "")
	r.refused("/msg/search_msg", u, obj{"pagination": page}, 1002, "")

	from, to := today.Add(-time.Hour).UnixMilli(), today.Add(time.Hour).UnixMilli()
	span := obj{"start": from, "end": to, "pagination": page}
	var counted struct {
		Total, Before, MsgCount, UserCount, GroupCount int
		Users                                          []struct {
			User  struct{ UserID string }
			Count int
		}
		Groups []struct {
			Group struct{ GroupID string }
			Count int
		}
	}
	r.must("/statistics/user/register", r.admin, span, &counted)
	if counted.Total < 3 { // the administrator and the two
		t.Errorf("%+v", counted)
	}
	r.must("/statistics/group/create", r.admin, span, &counted)
	if counted.Total != 1 {
		t.Errorf("%+v", counted)
	}
	r.must("/statistics/user/active", r.admin, span, &counted)
	if counted.MsgCount != 4 || counted.Users[0].User.UserID != "u1" || counted.Users[0].Count != 3 { // and the group's 1501
		t.Errorf("%+v", counted)
	}
	r.must("/statistics/group/active", r.admin, span, &counted)
	if counted.GroupCount != 1 || counted.Groups[0].Group.GroupID != "g1" {
		t.Errorf("%+v", counted)
	}
	for _, path := range []string{"/statistics/user/register", "/statistics/user/active", "/statistics/group/create", "/statistics/group/active"} {
		r.refused(path, u, span, 1002, "")
	}
}

// TestLookups asks about others: what one has of them, and what waits.
func TestLookups(t *testing.T) {
	r := newRig(t)
	u1, u2 := r.user("u1"), r.user("u2")
	r.must("/friend/add_friend", u1, obj{"fromUserID": "u1", "toUserID": "u2", "reqMsg": "hi"}, nil)
	r.must("/friend/add_black", u1, obj{"ownerUserID": "u1", "blackUserID": "u2"}, nil)
	var got struct {
		Count int
		Total int
		Infos []struct {
			UserInfo   struct{ UserID string }
			FriendInfo *obj
			BlackInfo  *obj
		}
		GroupRequests      []obj
		GroupAbstractInfos []struct{ GroupMemberNumber int }
	}
	r.must("/friend/get_self_unhandled_apply_count", u2, obj{"userID": "u2"}, &got)
	if got.Count != 1 {
		t.Errorf("%+v", got)
	}
	r.refused("/friend/get_self_unhandled_apply_count", u1, obj{"userID": "u2"}, 1002, "")
	r.must("/friend/get_specified_friends_info", u1, obj{"ownerUserID": "u1", "userIDList": []string{"u2", "nobody"}}, &got)
	if len(got.Infos) != 1 || got.Infos[0].FriendInfo != nil || got.Infos[0].BlackInfo == nil {
		t.Errorf("%+v", got)
	}
	r.must("/friend/get_specified_blacks", u1, obj{"ownerUserID": "u1", "userIDList": []string{"u2"}}, &got)
	if got.Total != 1 {
		t.Errorf("%+v", got)
	}
	r.must("/group/create_group", r.admin, obj{"groupInfo": obj{"groupType": 2, "groupID": "g1"}, "ownerUserID": "u1", "memberUserIDs": []string{}}, nil)
	r.must("/group/join_group", u2, obj{"groupID": "g1", "joinSource": 3, "inviterUserID": "u2"}, nil)
	r.must("/group/get_group_application_unhandled_count", u1, obj{"userID": "u1"}, &got)
	if got.Count != 1 {
		t.Errorf("%+v", got)
	}
	r.must("/group/get_specified_user_group_request_info", u2, obj{"groupID": "g1", "userID": "u2"}, &got)
	if len(got.GroupRequests) != 1 {
		t.Errorf("%+v", got)
	}
	r.must("/group/get_group_users_req_application_list", u1, obj{"groupID": "g1", "userIDs": []string{"u2"}}, &got)
	if got.Total != 1 {
		t.Errorf("%+v", got)
	}
	r.refused("/group/get_group_users_req_application_list", u2, obj{"groupID": "g1", "userIDs": []string{"u2"}}, 1002, "")
	r.must("/group/get_group_abstract_info", u1, obj{"groupIDs": []string{"g1"}}, &got)
	if got.GroupAbstractInfos[0].GroupMemberNumber != 1 {
		t.Errorf("%+v", got)
	}
	r.refused("/group/get_group_abstract_info", u2, obj{"groupIDs": []string{"g1"}}, 1002, "")
}
