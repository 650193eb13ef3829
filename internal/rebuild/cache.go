package rebuild

import (
	"os"
	"path/filepath"
)

// systemCache is root's: a builder that is nobody can reach it, and everybody
// can read what root rebuilt.
const systemCache = "/var/cache/hotpatch"

// CacheDir is where this user's rebuilds are kept: debug files in "debug",
// scratch in "rebuild".
func CacheDir() (string, error) {
	if os.Geteuid() == 0 {
		return systemCache, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "hotpatch"), nil
}

// DebugDirs are the directories to look for debug files in by default, that of
// the user first. They need not exist.
func DebugDirs() []string {
	var out []string
	if dir, err := CacheDir(); err == nil && dir != systemCache {
		out = append(out, filepath.Join(dir, "debug"))
	}
	return append(out, filepath.Join(systemCache, "debug"))
}
