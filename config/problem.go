package config

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with what was given.
type Problem struct {
	// Setting is the name of the setting, or the unknown name.
	Setting string
	// Value is what was given; Source says where, as [Setting] does.
	Value, Source string
	// Want says what is allowed; empty for an unknown name.
	Want string
	// Nearest is the known name that is most like an unknown one.
	Nearest string
}

func (p Problem) String() string {
	if p.Nearest != "" {
		return fmt.Sprintf("%s (%s): no such setting; the nearest is %s", p.Setting, p.Source, p.Nearest)
	}
	return fmt.Sprintf("%s = %q (%s): want %s", p.Setting, p.Value, p.Source, p.Want)
}

// Problems is the error of [Load]: all that is wrong, at least one.
type Problems []Problem

func (p Problems) Error() string {
	if len(p) == 1 {
		return "config: " + p[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "config: %d problems:", len(p))
	for _, one := range p {
		b.WriteString("\n  " + one.String())
	}
	return b.String()
}
