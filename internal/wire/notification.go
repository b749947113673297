package wire

import (
	"encoding/json"
	"fmt"
)

// NotificationContent is a notification message's content: {"detail": text},
// where text is the encoding/json form of detail. SDKs read it with encoding/json
// too, so protojson would not do.
func NotificationContent(detail any) ([]byte, error) {
	text, err := json.Marshal(detail)
	if err != nil {
		return nil, fmt.Errorf("notification detail: %w", err)
	}
	content, err := json.Marshal(struct {
		Detail string `json:"detail"`
	}{string(text)})
	if err != nil {
		return nil, fmt.Errorf("notification content: %w", err)
	}
	return content, nil
}
