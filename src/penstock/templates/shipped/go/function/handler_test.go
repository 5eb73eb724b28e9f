package function

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestGreets(t *testing.T) {
	for body, want := range map[string]string{"Ada\n": "Hello, Ada!\n", "": "Hello, world!\n"} {
		answer := httptest.NewRecorder()
		Handle(answer, httptest.NewRequest("POST", "/", strings.NewReader(body)))
		if got := answer.Body.String(); got != want {
			t.Errorf("%q was answered with %q, not %q", body, got, want)
		}
	}
}
