package scan

var (
	Container = container
	Codename  = codename
)
