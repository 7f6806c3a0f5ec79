package api

import (
	"net/http"

	"starling/store/object"
)

// previousDoc is the answer to a read of what lost.
type previousDoc struct {
	Context  string       `json:"context"`
	Previous []siblingDoc `json:"previous"`
}

// previous is what of a view the request asks for besides the values.
func (q *keyRequest) previous(lost []object.Sibling) []object.Sibling {
	if !q.params.previous {
		return nil
	}
	return lost
}

// answerPrevious answers the values that lost, newest first; there may be none.
func (q *keyRequest) answerPrevious(token string, lost []object.Sibling) {
	h := q.Header()
	h["Cache-Control"] = noCache
	h["Content-Security-Policy"] = sandbox
	writeJSON(q, http.StatusOK, previousDoc{Context: token, Previous: siblingDocs(lost)})
}
