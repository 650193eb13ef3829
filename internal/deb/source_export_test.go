package deb

// For tables, without apt.
var (
	ForSources   = forSources
	ParseShowSrc = parseShowSrc
)
