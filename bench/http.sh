#!/usr/bin/env bash
# Throughput of the HTTP API over 64 kept-alive connections, with wrk (package
# wrk). Usage: bench/http.sh [api address, default http://127.0.0.1:10002]
# against a server with the default secrets. WRK="taskset -c 1 wrk" pins it. The
# receiver of send_msg is RECV (h2, offline); one who is online:
#	go run ./loadtest idle --users-prefix h --conns 1 --duration 60s & RECV=h_000000 bench/http.sh
set -euo pipefail
API=${1:-http://127.0.0.1:10002}
WRK=${WRK:-wrk}
SECONDS_EACH=${SECONDS_EACH:-8}
call() { curl -s "$API$1" -H 'operationID: bench' -H "token: ${TOKEN:-}" -d "$2"; }
TOKEN=$(call /auth/get_admin_token '{"secret":"openIM123","userID":"openIM123456"}' | sed 's/.*"token":"\([^"]*\)".*/\1/')

list() { # list N: "h0","h1",…
	seq -f '"h%g"' 0 $(($1 - 1)) | paste -sd, -
}
users=$(seq 0 99 | sed 's/.*/{"userID":"h&","nickname":"h&"}/' | paste -sd, -)
call /user/user_register "{\"users\":[$users]}" >/dev/null

script=$(mktemp)
trap 'rm -f "$script"' EXIT
run() { # run NAME PATH BODY
	cat >"$script" <<LUA
wrk.method = "POST"
local body = [==[$3]==]
-- @ stands for one of a hundred users.
request = function() return wrk.format(nil, nil, nil, (body:gsub("@", math.random(0, 99)))) end
wrk.headers["operationID"] = "bench"
wrk.headers["token"] = "$TOKEN"
LUA
	printf '%-28s ' "$1"
	$WRK -t1 -c64 -d"${SECONDS_EACH}s" --latency -s "$script" "$API$2" |
		awk '/50%/{a=$2} /99%/{b=$2} /Requests\/sec/{r=$2} /Non-2xx/{e=$0} END{printf "%8.0f req/s  p50 %s  p99 %s %s\n", r, a, b, e}'
}
run 'server time (floor)' /msg/get_server_time '{}'
run 'account_check of 10' /user/account_check "{\"checkUserIDs\":[$(list 10)]}"
run 'online status of 100' /user/get_users_online_status "{\"userIDs\":[$(list 100)]}"
run 'user_token (durable)' /auth/user_token '{"secret":"openIM123","platformID":1,"userID":"h@"}'
run 'send_msg (durable)' /msg/send_msg '{"sendID":"h@","recvID":"'"${RECV:-h2}"'","senderPlatformID":1,"sessionType":1,"contentType":101,"content":{"content":"hello"}}'
