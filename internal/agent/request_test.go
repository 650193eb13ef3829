package agent

import (
	"bytes"
	"testing"
)

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"intent": "pending"}`))
	f.Add([]byte(`{"intent": "pending"} x`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = decodeRequest[EnrolRequest](bytes.NewReader(b))
		_, _ = decodeRequest[RebaseRequest](bytes.NewReader(b))
	})
}

func TestRequestsAreStrict(t *testing.T) {
	for _, bad := range []string{``, `{"intend": "pending"}`, `{"intent": 3}`, `{"intent": "x"}{}`, `[]`} {
		if _, err := decodeRequest[EnrolRequest](bytes.NewReader([]byte(bad))); err == nil {
			t.Errorf("%q is a request", bad)
		}
	}
}
