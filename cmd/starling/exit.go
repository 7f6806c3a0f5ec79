package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"starling/client"
)

// Exit codes; they are part of the command line's contract.
const (
	exitDone         = 0
	exitFailed       = 1
	exitUsage        = 2
	exitUnreachable  = 3
	exitUnhealthy    = 4
	exitPrecondition = 5
)

// usageError is a mistake in the command line.
type usageError struct{ error }

// Unwrap gives the mistake.
func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// These end commands that have printed what is wrong.
var (
	errUnhealthy    = errors.New("the cluster is not healthy")
	errNotConverged = errors.New("the cluster is not converged")
	errNotSafe      = errors.New("it is not safe to stop the node")
)

// exitCode maps an error to the code that scripts see.
func exitCode(err error) int {
	var usage usageError
	var problem *client.Problem
	var network *net.OpError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage), errors.Is(err, client.ErrInvalid):
		return exitUsage
	case errors.Is(err, errUnhealthy), errors.Is(err, errNotConverged), errors.Is(err, errNotSafe):
		return exitUnhealthy
	case errors.As(err, &problem):
		switch problem.Status {
		case http.StatusBadRequest, http.StatusUnprocessableEntity:
			return exitUsage
		case http.StatusConflict, http.StatusPreconditionFailed:
			return exitPrecondition
		}
		return exitFailed
	case errors.Is(err, client.ErrUnreachable), errors.As(err, &network), errors.Is(err, context.DeadlineExceeded):
		return exitUnreachable
	default:
		return exitFailed
	}
}

// message is an error's text without the names of packages that its parts
// begin with, and without control characters but ends of lines.
func message(err error) string {
	text := err.Error()
	for _, prefix := range []string{"client: ", "load: ", "config: ", "node: "} {
		text = strings.ReplaceAll(strings.TrimPrefix(text, prefix), ": "+prefix, ": ")
	}
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}
