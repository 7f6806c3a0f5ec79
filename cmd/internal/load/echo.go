package load

import (
	"io"
	"net/http"
)

// Echo is the least that an HTTP server can do for the same requests: it
// answers every GET with a value of so many bytes, and reads and drops the
// body of every PUT. What a store takes longer than this is the store's.
func Echo(valueBytes int) http.Handler {
	value := make([]byte, valueBytes)
	for i := range value {
		value[i] = byte('a' + i%26)
	}
	contentType := []string{"application/octet-stream"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet:
			w.Header()["Content-Type"] = contentType
			_, _ = w.Write(value) // a caller who went away is no matter
		case http.MethodPut:
			if _, err := io.Copy(io.Discard, r.Body); err == nil {
				w.WriteHeader(http.StatusNoContent)
			}
		default:
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	})
}
