package cli

import "io"

// WriteJSON and WriteJSONList are the two ways to write a list.
func WriteJSON(w io.Writer, v any) error               { return writeJSON(w, v) }
func WriteJSONList[T any](w io.Writer, list []T) error { return writeJSONList(w, list) }
