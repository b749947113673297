package main

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"gannet/core"
)

// banner tells a person where the server is and how to try it.
func (n *node) banner(w io.Writer) {
	c := n.config
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(w, "  %-12s %s\n", name, text)
		}
	}
	fmt.Fprintf(w, "gannet %s\n\n", version())
	line("websocket", urlOf("ws", n.gateway.Addr()))
	line("api", urlOf("http", n.api.Addr(core.DialectV3)))
	if c.APIV2 != "" {
		line("api v2", urlOf("http", n.api.Addr(core.DialectV2)))
	}
	if n.ops != nil {
		line("ops", urlOf("http", n.ops.Addr()))
	}
	data, err := filepath.Abs(c.Data)
	if err != nil {
		data = c.Data
	}
	line("data", data)
	secrets := []string{shown(c.Secret)}
	for _, s := range c.Secrets {
		secrets = append(secrets, shown(s))
	}
	line("secrets", strings.Join(secrets, ", "))
	line("token key v2", shown(c.TokenKeyV2))
	if hints := c.defaultSecrets(); len(hints) > 0 {
		line("", "default secrets keep the server on loopback; to open it, "+strings.Join(hints, ";\n"+strings.Repeat(" ", 15)))
	}
	line("admins", strings.Join(c.Admins, ", "))
	line("connections", fmt.Sprintf("up to %d, by the limit of open files and limits.max-connections", n.gateway.Stats().MaxConns))
	fmt.Fprintf(w, "\nRegister two users, get a token, send a message:\n\n%s\n\n", strings.Join(n.tour(), "\n"))
}

// shown is a secret as it may be printed: only what everybody knows.
func shown(secret string) string {
	if slices.Contains([]string{defaultSecret, defaultSecretV2, defaultTokenKeyV2}, secret) {
		return secret + " (default)"
	}
	return "***"
}

// urlOf is addr as a client on this machine reaches it.
func urlOf(scheme, addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return scheme + "://" + addr
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// tour is three lines for a shell. A secret of one's own is not printed: the
// lines take it from the variable GANNET_SECRET.
func (n *node) tour() []string {
	secret := n.config.Secret
	if shown(secret) == "***" {
		secret = `'"$GANNET_SECRET"'`
	}
	call := func(route, token, body string) string {
		if token != "" {
			token = fmt.Sprintf(` -H "token: $%s"`, token)
		}
		return fmt.Sprintf(`curl -s %s%s -H "operationID: tour"%s -d '%s'`, urlOf("http", n.api.Addr(core.DialectV3)), route, token, body)
	}
	const token = ` | sed 's/.*"token":"\([^"]*\)".*/\1/'`
	return []string{
		"ADMIN=$(" + call("/auth/get_admin_token", "", fmt.Sprintf(`{"secret":"%s","userID":"%s"}`, secret, n.config.Admins[0])) + token + "); " +
			call("/user/user_register", "ADMIN", `{"users":[{"userID":"alice","nickname":"Alice"},{"userID":"bob","nickname":"Bob"}]}`) + "; echo",
		"ALICE=$(" + call("/auth/get_user_token", "ADMIN", `{"userID":"alice","platformID":5}`) + token + `); echo "$ALICE"`,
		call("/msg/send_msg", "ADMIN", `{"sendID":"alice","recvID":"bob","senderPlatformID":5,"sessionType":1,"contentType":101,"content":{"content":"hello"}}`) + "; echo",
	}
}
