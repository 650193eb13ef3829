package diff_test

import (
	"strings"
	"testing"
)

func TestPointersThatChangeHandsAreFound(t *testing.T) {
	// As in libpng (a copy in place of a shared buffer) and libxml2 (a string
	// that was the dictionary's).
	const source = `
#include <stdlib.h>
#include <string.h>
#define API __attribute__((noinline, noipa, externally_visible))
struct info { long kind; char *text; char *palette; int size; };
struct reader { long kind, flags; char *name; char *palette; struct info *info; };
API char *lookup(struct info *i, const char *s) { return i->text + (s[0] & 1); }
API int owns(struct info *i, char *s) { return s >= i->text && s < i->text + i->size; }
API void set_palette(struct reader *r, struct info *i) {
	i->size += 1;
	r->palette = i->palette; /*copy*/
}
API void set_name(struct reader *r, const char *s) {
	if (strlen(s) < 5) r->name = lookup(r->info, s); else r->name = strdup(s); /*name*/
}
API void finish(struct reader *r) {
	if (r->flags & 16) free(r->palette); /*flag*/
	r->palette = 0;
	if (!owns(r->info, r->name)) free(r->name); /*dict*/
	r->name = 0;
	r->flags = 0; /*end*/
}
API void drop(struct reader *r) {
	r->kind = 2;
	free(r->info); /*info*/
	r->info = 0;
}
API int more(struct reader *r, int n) { if (n > 3) return 0; r->kind += n; return 1; /*bounds*/ }
int main(int n, char **v) {
	struct info *i = calloc(1, sizeof *i); struct reader *r = calloc(1, sizeof *r);
	i->text = v[0]; i->palette = v[0]; r->info = i;
	set_palette(r, i); set_name(r, v[0]); more(r, n); finish(r); drop(r);
	return 0;
}
`
	testHandovers(t, source, []handoverCase{
		{"another bound", []string{"n > 3", "n > 4", "strlen(s) < 5", "strlen(s) < 6"}, ""},
		{"a leak is closed", []string{"r->flags = 0; /*end*/", "r->flags = 0; free(r->info);"}, ""},
		{"a copy of its own", []string{
			"r->palette = i->palette; /*copy*/", "r->palette = malloc(768); memcpy(r->palette, i->palette, 768);",
			"if (r->flags & 16) free(r->palette); /*flag*/", "free(r->palette);"}, "finish"},
		{"no longer the dictionary's", []string{
			"if (strlen(s) < 5) r->name = lookup(r->info, s); else r->name = strdup(s); /*name*/", "r->name = strdup(s);",
			"if (!owns(r->info, r->name)) free(r->name); /*dict*/", "free(r->name);"}, "finish"},
		{"freed by another", []string{"free(r->info); /*info*/", "r->flags = 3;", "r->flags = 0; /*end*/", "r->flags = 0; free(r->info);"}, "finish"},
	})
}

// The pointer may be the first member, or a variable. What is at the start of an object
// that has no other members may be the object itself.
func TestFirstMembersAndVariablesThatChangeHandsAreFound(t *testing.T) {
	const source = `
#include <stdlib.h>
#include <string.h>
#define API __attribute__((noinline, noipa, externally_visible))
struct conn { char *name; int fd; };
static char *path, *host;
static const char none[] = "none";
API void start(struct conn *c, char **out) {
	c->fd = 3;
	c->name = (char *)none; /*name*/
	path = (char *)none; /*path*/
	*out = (char *)none; /*out*/
}
API void rename_conn(struct conn *c, const char *s) {
	if (c->name != none) free(c->name); /*member*/
	c->name = strdup(s);
}
API void set_path(const char *s) {
	if (path != none) free(path); /*variable*/
	path = strdup(s);
}
API void set_host(const char *s) { free(host); host = strdup(s); }
API void drop(char **list) {
	if (list[0] != none) free(*list); /*list*/
}
API int more(struct conn *c, int n) { if (n > 3) return 0; c->fd += n; return 1; /*bounds*/ }
int main(int n, char **v) {
	struct conn *c = calloc(1, sizeof *c);
	char *out;
	start(c, &out); rename_conn(c, v[0]); set_path(v[0]); set_host(v[0]); more(c, n); drop(&out);
	return 0;
}
`
	testHandovers(t, source, []handoverCase{
		{"another bound", []string{"n > 3", "n > 4", "c->fd = 3;", "c->fd = 4;"}, ""},
		{"a first member of its own", []string{
			"c->name = (char *)none; /*name*/", "c->name = strdup(none);", "if (c->name != none) free(c->name); /*member*/", "free(c->name);"}, "rename_conn"},
		{"a variable of its own", []string{
			"path = (char *)none; /*path*/", "path = strdup(none);", "if (path != none) free(path); /*variable*/", "free(path);"}, "set_path"},
		{"a variable that another frees", []string{
			"path = (char *)none; /*path*/", "path = strdup(none);", "free(host); host", "if (host != none) free(host); host"}, ""},
		{"an object, and what points to it", []string{
			"*out = (char *)none; /*out*/", "*out = strdup(none);", "if (list[0] != none) free(*list); /*list*/", "free(*list);"}, ""},
	})
}

// An object of one allocator must not go to the other one's free. Another free alone
// (one that wipes), or another allocator alone, goes with the old ones.
func TestPointersOfAnotherAllocatorAreFound(t *testing.T) {
	const source = `
#define _GNU_SOURCE
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#define API __attribute__((noinline, noipa, externally_visible))
struct key { long id, size; char *secret; };
API void make(struct key *k, long n) {
	k->id = 1;
	k->secret = malloc(n);
}
API void drop(struct key *k) {
	if (k->id != 4) free(k->secret);
	k->secret = 0;
}
API int more(struct key *k, int n) { if (n > 3) return 0; k->size += n; return 1; }
int main(int n, char **v) {
	struct key *k = calloc(1, sizeof *k);
	make(k, n); more(k, n); drop(k);
	freelocale(duplocale(LC_GLOBAL_LOCALE));
	free(calloc(n, 2));
	return 0;
}
`
	const made, dropped = "k->secret = malloc(n);", "free(k->secret);"
	testHandovers(t, source, []handoverCase{
		{"another allocator with its free", []string{made, "k->secret = (char *)duplocale(LC_GLOBAL_LOCALE);", dropped, "freelocale((locale_t)k->secret);"}, "drop"},
		{"another allocator", []string{made, "k->secret = calloc(n, 2);", "k->id != 4", "k->id != 5"}, ""},
		{"another free", []string{dropped, "freelocale((locale_t)k->secret);", "k->id = 1;", "k->id = 2;"}, ""},
	})
}

type handoverCase struct {
	name  string
	edits []string // old and new text in turn
	want  string   // the function that frees, "" for none
}

func testHandovers(t *testing.T, source string, cases []handoverCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fixed := source
			for i := 0; i < len(c.edits); i += 2 {
				next := strings.Replace(fixed, c.edits[i], c.edits[i+1], 1)
				if next == fixed {
					t.Fatalf("no %q", c.edits[i])
				}
				fixed = next
			}
			x, y := compile(t, source), compile(t, fixed)
			for _, pair := range [][2]string{{x, y}, {strip(t, x), strip(t, y)}} {
				d := compare(t, pair[0], pair[1])
				names := funcs(t, y, d)
				found := d.Handovers()
				if c.want == "" && len(found) > 0 || c.want != "" && len(found) == 0 {
					t.Fatalf("%s: found %+v, want %q", pair[0], found, c.want)
				}
				if c.want != "" && found[0].Frees != names[c.want] {
					t.Errorf("%s: %s frees, want %s", pair[0], found[0].Frees.Name(), c.want)
				}
			}
		})
	}
}
