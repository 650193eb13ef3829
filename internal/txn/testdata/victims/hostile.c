// A process that makes itself look larger, or stranger, than anything real.
// hostile MODE [FILE]
#include "victim.h"
#include <elf.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>

NOINLINE int fixed_function(int n) { __asm__ volatile(".nops 16" : "+r"(n)); return n + OLD_NEW(1, 1000); }

static void must(int ok, const char *what) { if (!ok) { perror(what); _exit(1); } }

// An image in a sparse file: one executable segment of that many GiB.
static void sparse(const char *file, size_t gib) {
	char page[4096] = {0};
	Elf64_Ehdr *e = (void *)page;
	memcpy(e->e_ident, ELFMAG, 4);
	e->e_ident[4] = 2, e->e_ident[5] = 1, e->e_ident[6] = 1;
	e->e_type = ET_DYN, e->e_machine = EM_X86_64, e->e_version = 1, e->e_phoff = 64, e->e_ehsize = 64;
	e->e_phentsize = 56, e->e_phnum = 1, e->e_shentsize = 64;
	*(Elf64_Phdr *)(page + 64) = (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = 5, .p_filesz = gib << 30, .p_memsz = gib << 30, .p_align = 4096};
	int fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0755);
	must(fd >= 0 && !ftruncate(fd, gib << 30) && pwrite(fd, page, 4096, 0) == 4096, file);
	must(mmap(0, gib << 30, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) != MAP_FAILED, "mmap");
}

// A vdso that goes on for 512 GiB.
static void vdso(void) {
	char *at = (char *)getauxval(AT_SYSINFO_EHDR), *to = (char *)0x20000000000;
	must(mremap(at, 8192, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to, "mremap");
	must(!mprotect(to, 8192, PROT_READ | PROT_WRITE), "mprotect");
	Elf64_Ehdr *e = (void *)to;
	Elf64_Phdr *p = (void *)(to + e->e_phoff);
	for (int i = 0; i < e->e_phnum; i++)
		if (p[i].p_type == PT_LOAD) p[i].p_memsz = 1ul << 39;
	must(!mprotect(to, 8192, PROT_READ | PROT_EXEC), "mprotect");
	must(mmap(to + (1ul << 39) - 4096, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED, "mmap");
}

// Journals of nothing but entries, all zero.
static void journals(int n) {
	enum { SITES = 1 << 17, HEAD = 32 + 8 + 8 + 4 + 8, REGION = 4 + 7 * 8 + 1 + 6 };
	size_t body = HEAD + REGION + 4 + (size_t)SITES * 33 + 4, rx = (64 + body + 4095) & ~4095ul;
	unsigned char *b = calloc(1, body);
	uint32_t one = 1, sites = SITES;
	memcpy(b + HEAD, &one, 4);
	memcpy(b + HEAD + REGION, &sites, 4);
	uint64_t h = 14695981039346656037ul;
	for (size_t i = 0; i < body; i++) h = (h ^ b[i]) * 1099511628211ul;
	while (n--) {
		char *m = mmap(0, rx + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		must(m != MAP_FAILED, "mmap");
		munmap(m + rx, 4096); // so that they do not merge
		memcpy(m, "HOTPATCH", 8);
		*(uint32_t *)(m + 8) = 2, *(uint32_t *)(m + 12) = 4;
		*(uint64_t *)(m + 16) = (uint64_t)m, *(uint64_t *)(m + 24) = rx, *(uint64_t *)(m + 32) = rx;
		*(uint64_t *)(m + 48) = body, *(uint64_t *)(m + 56) = h;
		memcpy(m + 64, b, HEAD + REGION + 4);
		must(!mprotect(m, rx, PROT_READ | PROT_EXEC), "mprotect");
	}
	free(b);
}

int main(int argc, char **argv) {
	if (!strcmp(argv[1], "sparse")) sparse(argv[2], 1000);
	if (!strcmp(argv[1], "vdso")) vdso();
	if (!strcmp(argv[1], "journals")) journals(50);
	void *volatile stale[64]; // has every stack unwound
	for (int i = 0; i < 64; i++) stale[i] = (char *)fixed_function + 8;
	(void)stale[0];
	char c;
	int n;
	// No libc: it would use the vdso that is no more where it was.
	static char ready[32];
	n = snprintf(ready, sizeof ready, "ready %d\n", getpid());
	must(write(1, ready, n) == n, "write");
	while (read(0, &c, 1) > 0)
		if (c == '\n') answer("%d", fixed_function(stale[c & 63] != 0));
}
