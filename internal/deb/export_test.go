package deb

// For fuzzing and for tables, without files.
var (
	Read         = read
	ParseControl = parseControl
	ParseMadison = parseMadison
	AptError     = aptError
	CleanName    = cleanName
)
