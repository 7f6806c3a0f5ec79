// Package ring decides which nodes keep which partition.
package ring
