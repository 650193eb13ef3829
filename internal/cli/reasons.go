package cli

// meaning explains a reason code to whoever has to decide.
type meaning struct{ means, todo string }

// meaningOf knows every code the builder gives; one it does not know is shown
// with the advice to read its details.
func meaningOf(code string) meaning {
	if m, ok := meanings()[code]; ok {
		return m
	}
	return meaning{
		means: "see the details",
		todo:  "read the details; when in doubt, use the ordinary update and a restart",
	}
}

// The words for what cannot be helped by a reviewer.
const useRestart = "install the fixed package and restart the program instead"

func meanings() map[string]meaning {
	return map[string]meaning{
		"layout-unverified": {
			"there is no type information on both sides, so that no struct changed its layout is likely but not proved",
			"read what the update changes (inspect FILE --disassemble), or build again with --debug-base and --debug-fixed; then accept",
		},
		"layout-changed": {
			"a struct has another layout in the fixed image, and live objects have the old one",
			useRestart,
		},
		"data-unmapped": {
			"carried code touches a variable whose place in the running program is not certain",
			useRestart,
		},
	}
}
