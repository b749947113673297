package api

import "gannet/core"

// routes is the v3 API: what answers each path, and what a caller must show
// first. All are POST. TestRoutes prints it to testdata/routes.txt, which doubles
// as the list of what is supported.
func routes(c *core.Core) map[string]route {
	m := newMessages(c)
	return map[string]route{
		"/auth/get_admin_token": {accessNone, handle(c.GetAdminToken)},
		"/auth/get_user_token":  {accessToken, handle(c.GetUserToken)},
		"/auth/user_token":      {accessNone, handle(userToken(c))},
		"/auth/parse_token":     {accessNone, handle(c.ParseToken)},
		"/auth/force_logout":    {accessToken, handle(c.ForceLogout)},

		"/user/user_register":               {accessMaybe, handle(userRegister(c))},
		"/user/update_user_info":            {accessToken, handle(c.UpdateUserInfo)},
		"/user/update_user_info_ex":         {accessToken, handle(c.UpdateUserInfoEx)},
		"/user/get_users_info":              {accessToken, handle(c.GetDesignateUsers)},
		"/user/account_check":               {accessToken, handle(accountCheck(c))},
		"/user/get_users":                   {accessToken, handle(c.GetPaginationUsers)},
		"/user/get_all_users_uid":           {accessToken, handle(c.GetAllUserID)},
		"/user/get_users_online_status":     {accessToken, handle(usersOnlineStatus(c))},
		"/user/get_users_status":            {accessToken, handle(c.GetUserStatus)},
		"/user/set_global_msg_recv_opt":     {accessToken, handle(c.SetGlobalRecvMessageOpt)},
		"/user/process_user_command_add":    {accessToken, handle(c.ProcessUserCommandAdd)},
		"/user/process_user_command_delete": {accessToken, handle(c.ProcessUserCommandDelete)},
		"/user/process_user_command_update": {accessToken, handle(c.ProcessUserCommandUpdate)},
		"/user/process_user_command_get":    {accessToken, handle(c.ProcessUserCommandGet)},
		"/user/process_user_command_get_all": {
			accessToken, handle(c.ProcessUserCommandGetAll)},

		"/msg/send_msg":                      {accessToken, handle(m.send)},
		"/msg/batch_send_msg":                {accessToken, handle(m.sendBatch)},
		"/msg/send_business_notification":    {accessToken, handle(m.sendBusiness)},
		"/msg/check_msg_is_send_success":     {accessToken, handle(m.checkSent)},
		"/msg/mark_msgs_as_read":             {accessToken, handle(c.MarkMsgsAsRead)},
		"/msg/mark_conversation_as_read":     {accessToken, handle(c.MarkConversationAsRead)},
		"/msg/set_conversation_has_read_seq": {accessToken, handle(c.SetConversationHasReadSeq)},
		"/msg/get_conversations_has_read_and_max_seq": {
			accessToken, handle(c.GetConversationsHasReadAndMaxSeq)},
		"/msg/newest_seq":             {accessToken, handle(c.GetMaxSeq)},
		"/msg/pull_msg_by_seq":        {accessToken, handle(m.pull)},
		"/msg/revoke_msg":             {accessToken, handle(c.RevokeMsg)},
		"/msg/clear_conversation_msg": {accessToken, handle(c.ClearConversationsMsg)},
		"/msg/user_clear_all_msg":     {accessToken, handle(c.UserClearAllMsg)},
		"/msg/delete_msgs":            {accessToken, handle(c.DeleteMsgs)},
		"/msg/get_server_time":        {accessToken, handle(c.ServerTime)},

		"/conversation/get_owner_conversation":        {accessToken, handle(c.GetOwnerConversation)},
		"/conversation/get_all_conversations":         {accessToken, handle(c.GetAllConversations)},
		"/conversation/get_conversations":             {accessToken, handle(c.GetConversations)},
		"/conversation/get_conversation":              {accessToken, handle(c.GetConversation)},
		"/conversation/get_sorted_conversation_list":  {accessToken, handle(c.GetSortedConversationList)},
		"/conversation/set_conversations":             {accessToken, handle(c.SetConversations)},
		"/conversation/get_incremental_conversations": {accessToken, handle(c.GetIncrementalConversation)},
		"/conversation/get_full_conversation_ids":     {accessToken, handle(c.GetFullOwnerConversationIDs)},
		"/conversation/get_conversation_offline_push_user_ids": {
			accessToken, handle(c.GetConversationOfflinePushUserIDs)},
		"/conversation/get_not_notify_conversation_ids": {accessToken, handle(c.GetNotNotifyConversationIDs)},
		"/conversation/get_pinned_conversation_ids":     {accessToken, handle(c.GetPinnedConversationIDs)},

		"/friend/get_incremental_friends":    {accessToken, handle(c.GetIncrementalFriends)},
		"/friend/get_friend_list":            {accessToken, handle(c.GetPaginationFriends)},
		"/friend/get_full_friend_user_ids":   {accessToken, handle(c.GetFullFriendUserIDs)},
		"/friend/get_friend_apply_list":      {accessToken, handle(c.GetPaginationFriendsApplyTo)},
		"/friend/get_self_friend_apply_list": {accessToken, handle(c.GetPaginationFriendsApplyFrom)},
		"/friend/get_black_list":             {accessToken, handle(c.GetPaginationBlacks)},

		"/group/get_incremental_join_groups":         {accessToken, handle(c.GetIncrementalJoinGroup)},
		"/group/get_joined_group_list":               {accessToken, handle(c.GetJoinedGroupList)},
		"/group/get_full_join_group_ids":             {accessToken, handle(c.GetFullJoinGroupIDs)},
		"/group/get_incremental_group_members_batch": {accessToken, handle(c.BatchGetIncrementalGroupMember)},
		"/group/get_group_member_list":               {accessToken, handle(c.GetGroupMemberList)},
		"/group/get_full_group_member_user_ids":      {accessToken, handle(c.GetFullGroupMemberUserIDs)},
		"/group/get_group_members_info":              {accessToken, handle(c.GetGroupMembersInfo)},
		"/group/get_recv_group_applicationList":      {accessToken, handle(c.GetGroupApplicationList)},
		"/group/get_user_req_group_applicationList":  {accessToken, handle(c.GetUserReqApplicationList)},
		"/group/get_groups_info":                     {accessToken, handle(c.GetGroupsInfo)},
	}
}
