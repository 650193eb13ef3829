// Command hotpatch turns a distribution's old and new package into a patch for
// the processes that still run the old one, and applies it without a restart.
package main

import (
	"os"

	"hotpatch/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
