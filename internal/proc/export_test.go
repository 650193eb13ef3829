package proc

// OpenRemote and StackAuxv are what is done where permissions do not open a
// process's own files, for tests.
var (
	OpenRemote = openRemote
	StackAuxv  = stackAuxv
)
