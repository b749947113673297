package api

import "gannet/core"

// path is one path of the API: what answers there in each dialect, nil if nothing.
type path struct {
	v3 *route
	v2 *mouth
}

func open[Req, Resp any](op call[Req, Resp]) *route    { return &route{accessNone, handle(op)} }
func maybe[Req, Resp any](op call[Req, Resp]) *route   { return &route{accessMaybe, handle(op)} }
func byToken[Req, Resp any](op call[Req, Resp]) *route { return &route{accessToken, handle(op)} }

func bySecret(read func(*object) spoken) *mouth { return &mouth{who: whoKnowsSecret, read: read} }
func byUser(read func(*object) spoken) *mouth   { return &mouth{who: whoHasToken, read: read} }
func byAdmin(read func(*object) spoken) *mouth  { return &mouth{who: whoIsAdmin, read: read} }

// withEmpty sets what stands in the place of the result when there is none.
func (m *mouth) withEmpty(name string, value any) *mouth {
	m.empty = as(name, value)
	return m
}

// none is an empty list in an answer.
var none = []string{}

// routes is the API of both dialects: what answers each path, and what a caller
// must show first. All are POST. TestRoutes prints it to testdata/routes.txt,
// which doubles as the list of what is supported.
func routes(c *core.Core) map[string]path {
	m, v := newMessages(c), v2{c}
	status := byAdmin(v.onlineStatus("data")).withEmpty("data", none)
	status.who = whoIsAdminOrKnowsSecret
	send := byAdmin(v.sendMsg(sendAnswer))
	send.empty = members{{"sendTime", 0}, {"msgID", ""}}
	send.lost = sendRefused(v2BadRequest, "parse token failed", unsent)
	send.denied = sendRefused(v2BadRequest, "not authorized", unsent)
	manageSend := byAdmin(v.sendMsg(manageAnswer)).withEmpty("data", &sentTimes{})
	black := byUser(v.addBlack)
	return map[string]path{
		"/auth/get_admin_token": {v3: open(c.GetAdminToken)},
		"/auth/get_user_token":  {v3: byToken(c.GetUserToken)},
		"/auth/user_token":      {open(userToken(c)), bySecret(v.userToken)},
		"/auth/parse_token":     {v3: open(c.ParseToken)},
		"/auth/force_logout":    {v3: byToken(c.ForceLogout)},

		"/auth/user_register": {v2: bySecret(v.userRegister)},

		"/user/user_register":                 {v3: maybe(userRegister(c))},
		"/user/update_user_info":              {byToken(c.UpdateUserInfo), byUser(v.updateUserInfo)},
		"/user/update_user_info_ex":           {v3: byToken(c.UpdateUserInfoEx)},
		"/user/get_users_info":                {byToken(c.GetDesignateUsers), byAdmin(v.usersInfo).withEmpty("data", none)},
		"/user/account_check":                 {byToken(accountCheck(c)), byAdmin(v.accountCheck("data")).withEmpty("data", none)},
		"/user/get_users":                     {v3: byToken(c.GetPaginationUsers)},
		"/user/get_all_users_uid":             {byToken(c.GetAllUserID), byAdmin(v.allUsers("data")).withEmpty("data", none)},
		"/user/get_users_online_status":       {byToken(usersOnlineStatus(c)), status},
		"/user/get_users_online_token_detail": {v3: byToken(usersOnlineTokens(c))},
		"/user/get_users_status":              {v3: byToken(c.GetUserStatus)},
		"/user/set_global_msg_recv_opt":       {v3: byToken(c.SetGlobalRecvMessageOpt)},
		"/user/process_user_command_add":      {v3: byToken(c.ProcessUserCommandAdd)},
		"/user/process_user_command_delete":   {v3: byToken(c.ProcessUserCommandDelete)},
		"/user/process_user_command_update":   {v3: byToken(c.ProcessUserCommandUpdate)},
		"/user/process_user_command_get":      {v3: byToken(c.ProcessUserCommandGet)},
		"/user/process_user_command_get_all":  {v3: byToken(c.ProcessUserCommandGetAll)},
		"/user/add_notification_account":      {v3: byToken(c.AddNotificationAccount)},
		"/user/update_notification_account":   {v3: byToken(c.UpdateNotificationAccountInfo)},
		"/user/search_notification_account":   {v3: byToken(c.SearchNotificationAccount)},

		"/user/get_user_info": {v2: byAdmin(v.userInfo).withEmpty("data", none)},

		"/manager/get_users_online_status": {v2: byAdmin(v.onlineStatus("successResult")).withEmpty("successResult", none)},
		"/manager/delete_user":             {v2: byUser(v.deleteUser)},
		"/manager/get_all_users_uid":       {v2: byAdmin(v.allUsers("uidList")).withEmpty("uidList", none)},
		"/manager/account_check":           {v2: byAdmin(v.accountCheck("result")).withEmpty("result", none)},
		"/manager/send_msg":                {v2: send},
		"/msg/manage_send_msg":             {v2: manageSend},

		"/msg/send_msg":                               {v3: byToken(m.send)},
		"/msg/batch_send_msg":                         {v3: byToken(m.sendBatch)},
		"/msg/send_business_notification":             {v3: byToken(m.sendBusiness)},
		"/msg/check_msg_is_send_success":              {v3: byToken(m.checkSent)},
		"/msg/mark_msgs_as_read":                      {v3: byToken(c.MarkMsgsAsRead)},
		"/msg/mark_conversation_as_read":              {v3: byToken(c.MarkConversationAsRead)},
		"/msg/set_conversation_has_read_seq":          {v3: byToken(c.SetConversationHasReadSeq)},
		"/msg/get_conversations_has_read_and_max_seq": {v3: byToken(c.GetConversationsHasReadAndMaxSeq)},
		"/msg/newest_seq":                             {v3: byToken(c.GetMaxSeq)},
		"/msg/pull_msg_by_seq":                        {v3: byToken(m.pull)},
		"/msg/revoke_msg":                             {v3: byToken(c.RevokeMsg)},
		"/msg/clear_conversation_msg":                 {v3: byToken(c.ClearConversationsMsg)},
		"/msg/user_clear_all_msg":                     {v3: byToken(c.UserClearAllMsg)},
		"/msg/delete_msgs":                            {v3: byToken(c.DeleteMsgs)},
		"/msg/delete_msg_phsical_by_seq":              {v3: byToken(c.DeleteMsgPhysicalBySeq)},
		"/msg/delete_msg_physical":                    {v3: byToken(c.DeleteMsgPhysical)},
		"/msg/get_server_time":                        {v3: byToken(c.ServerTime)},
		"/msg/search_msg":                             {v3: byToken(c.SearchMessage)},

		"/conversation/get_owner_conversation":                 {v3: byToken(c.GetOwnerConversation)},
		"/conversation/get_all_conversations":                  {v3: byToken(c.GetAllConversations)},
		"/conversation/get_conversations":                      {v3: byToken(c.GetConversations)},
		"/conversation/get_conversation":                       {v3: byToken(c.GetConversation)},
		"/conversation/get_sorted_conversation_list":           {v3: byToken(c.GetSortedConversationList)},
		"/conversation/set_conversations":                      {v3: byToken(c.SetConversations)},
		"/conversation/get_incremental_conversations":          {v3: byToken(c.GetIncrementalConversation)},
		"/conversation/get_full_conversation_ids":              {v3: byToken(c.GetFullOwnerConversationIDs)},
		"/conversation/get_conversation_offline_push_user_ids": {v3: byToken(c.GetConversationOfflinePushUserIDs)},
		"/conversation/get_not_notify_conversation_ids":        {v3: byToken(c.GetNotNotifyConversationIDs)},
		"/conversation/get_pinned_conversation_ids":            {v3: byToken(c.GetPinnedConversationIDs)},

		"/friend/get_incremental_friends":        {v3: byToken(c.GetIncrementalFriends)},
		"/friend/get_friend_list":                {v3: byToken(c.GetPaginationFriends)},
		"/friend/get_full_friend_user_ids":       {v3: byToken(c.GetFullFriendUserIDs)},
		"/friend/get_friend_apply_list":          {v3: byToken(c.GetPaginationFriendsApplyTo)},
		"/friend/get_self_friend_apply_list":     {v3: byToken(c.GetPaginationFriendsApplyFrom)},
		"/friend/get_black_list":                 {v3: byToken(c.GetPaginationBlacks)},
		"/friend/add_friend":                     {v3: byToken(c.ApplyToAddFriend)},
		"/friend/add_friend_response":            {v3: byToken(c.RespondFriendApply)},
		"/friend/delete_friend":                  {v3: byToken(c.DeleteFriend)},
		"/friend/get_designated_friend_apply":    {v3: byToken(c.GetDesignatedFriendsApply)},
		"/friend/get_designated_friends":         {v3: byToken(c.GetDesignatedFriends)},
		"/friend/get_friend_id":                  {v3: byToken(c.GetFriendIDs)},
		"/friend/is_friend":                      {v3: byToken(c.IsFriend)},
		"/friend/set_friend_remark":              {v3: byToken(c.SetFriendRemark)},
		"/friend/update_friends":                 {v3: byToken(c.UpdateFriends)},
		"/friend/get_specified_friends_info":     {v3: byToken(c.GetSpecifiedFriendsInfo)},
		"/friend/get_specified_blacks":           {v3: byToken(c.GetSpecifiedBlacks)},
		"/friend/get_self_unhandled_apply_count": {v3: byToken(c.GetSelfUnhandledApplyCount)},
		"/friend/import_friend":                  {byToken(c.ImportFriend), byAdmin(v.importFriend).withEmpty("data", none)},
		"/friend/add_black":                      {byToken(c.AddBlack), black},
		"/friend/add_blacklist":                  {v2: black},
		"/friend/remove_black":                   {v3: byToken(c.RemoveBlack)},

		"/group/get_incremental_join_groups":           {v3: byToken(c.GetIncrementalJoinGroup)},
		"/group/get_joined_group_list":                 {v3: byToken(c.GetJoinedGroupList)},
		"/group/get_full_join_group_ids":               {v3: byToken(c.GetFullJoinGroupIDs)},
		"/group/get_incremental_group_members_batch":   {v3: byToken(c.BatchGetIncrementalGroupMember)},
		"/group/get_group_member_list":                 {v3: byToken(c.GetGroupMemberList)},
		"/group/get_full_group_member_user_ids":        {v3: byToken(c.GetFullGroupMemberUserIDs)},
		"/group/get_group_members_info":                {v3: byToken(c.GetGroupMembersInfo)},
		"/group/get_recv_group_applicationList":        {v3: byToken(c.GetGroupApplicationList)},
		"/group/get_user_req_group_applicationList":    {v3: byToken(c.GetUserReqApplicationList)},
		"/group/get_groups_info":                       {v3: byToken(c.GetGroupsInfo)},
		"/group/get_groups":                            {v3: byToken(c.GetGroups)},
		"/group/get_group_member_user_id":              {v3: byToken(c.GetGroupMemberUserIDs)},
		"/group/get_incremental_group_members":         {v3: byToken(c.GetIncrementalGroupMember)},
		"/group/create_group":                          {byToken(c.CreateGroup), byUser(v.createGroup).withEmpty("data", nil)},
		"/group/set_group_info":                        {v3: byToken(c.SetGroupInfo)},
		"/group/set_group_info_ex":                     {v3: byToken(c.SetGroupInfoEx)},
		"/group/join_group":                            {v3: byToken(c.JoinGroup)},
		"/group/quit_group":                            {v3: byToken(c.QuitGroup)},
		"/group/group_application_response":            {v3: byToken(c.GroupApplicationResponse)},
		"/group/transfer_group":                        {v3: byToken(c.TransferGroupOwner)},
		"/group/kick_group":                            {byToken(c.KickGroupMember), byUser(v.kickFromGroup).withEmpty("data", none)},
		"/group/invite_user_to_group":                  {byToken(c.InviteUserToGroup), byUser(v.inviteToGroup).withEmpty("data", none)},
		"/group/dismiss_group":                         {v3: byToken(c.DismissGroup)},
		"/group/mute_group_member":                     {v3: byToken(c.MuteGroupMember)},
		"/group/cancel_mute_group_member":              {v3: byToken(c.CancelMuteGroupMember)},
		"/group/mute_group":                            {v3: byToken(c.MuteGroup)},
		"/group/cancel_mute_group":                     {v3: byToken(c.CancelMuteGroup)},
		"/group/set_group_member_info":                 {v3: byToken(c.SetGroupMemberInfo)},
		"/group/get_group_abstract_info":               {v3: byToken(c.GetGroupAbstractInfo)},
		"/group/get_group_users_req_application_list":  {v3: byToken(c.GetGroupUsersReqApplicationList)},
		"/group/get_specified_user_group_request_info": {v3: byToken(c.GetSpecifiedUserGroupRequestInfo)},
		"/group/get_group_application_unhandled_count": {v3: byToken(c.GetGroupApplicationUnhandledCount)},

		"/jssdk/get_conversations":        {v3: byToken(m.conversationsShown)},
		"/jssdk/get_active_conversations": {v3: byToken(m.activeConversations)},

		"/statistics/user/register": {v3: byToken(c.UserRegisterCount)},
		"/statistics/user/active":   {v3: byToken(c.GetActiveUser)},
		"/statistics/group/create":  {v3: byToken(c.GroupCreateCount)},
		"/statistics/group/active":  {v3: byToken(c.GetActiveGroup)},
	}
}
