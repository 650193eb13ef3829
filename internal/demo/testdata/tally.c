/*
 * tally: a small server that stands in where Debian's packages are out of
 * reach. One thread for each connection, one command on each line:
 *
 *     ADD n        adds to the sum of this connection and answers it
 *     ECHO n text  answers the first n bytes of text
 *     QUIT         ends the connection
 *
 * Without FIXED it has the bug of Heartbleed (CVE-2014-0160): ECHO believes n,
 * and answers with whatever the buffer still holds from someone else.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLOTS 64
#define ROOM 4096

struct slot {
	struct slot *next; /* free */
	int fd;
	long sum;
	char line[ROOM];
};

static struct slot slots[SLOTS];
static struct slot *slots_free;
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;

static int say(struct slot *s, const char *data, size_t n)
{
	while (n > 0) {
		ssize_t done = send(s->fd, data, n, MSG_NOSIGNAL);
		if (done <= 0)
			return -1;
		data += done;
		n -= (size_t)done;
	}
	return 0;
}

static int run_add(struct slot *s, char *args)
{
	char out[64];

	s->sum += strtol(args, NULL, 10);
	return say(s, out, (size_t)snprintf(out, sizeof out, "%ld\n", s->sum));
}

static int run_echo(struct slot *s, char *args)
{
	char *text;
	long n = strtol(args, &text, 10);

	if (*text == ' ')
		text++;
	if (n < 0 || n >= s->line + ROOM - text)
		return say(s, "error: length\n", 14);
#ifdef FIXED
	if ((size_t)n > strlen(text))
		return say(s, "error: longer than the text\n", 28);
#endif
	if (say(s, text, (size_t)n) < 0)
		return -1;
	return say(s, "\n", 1);
}

static int run_quit(struct slot *s, char *args)
{
	(void)s;
	(void)args;
	return -1;
}

static const struct command {
	const char *name;
	int (*run)(struct slot *, char *);
} commands[] = {
	{ "ADD ", run_add },
	{ "ECHO ", run_echo },
	{ "QUIT", run_quit },
};

static int obey(struct slot *s)
{
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
		size_t n = strlen(commands[i].name);
		if (strncmp(s->line, commands[i].name, n) == 0)
			return commands[i].run(s, s->line + n);
	}
	return say(s, "error: command\n", 15);
}

static void give_back(struct slot *s)
{
	pthread_mutex_lock(&slots_lock);
	s->next = slots_free;
	slots_free = s;
	pthread_mutex_unlock(&slots_lock);
}

/* The slot freed last; its line still holds what its last owner sent. */
static struct slot *take(int fd)
{
	pthread_mutex_lock(&slots_lock);
	struct slot *s = slots_free;
	if (s) {
		slots_free = s->next;
		s->fd = fd;
		s->sum = 0;
	}
	pthread_mutex_unlock(&slots_lock);
	return s;
}

static void *serve(void *arg)
{
	struct slot *s = arg;
	size_t have = 0;

	for (;;) {
		ssize_t n = recv(s->fd, s->line + have, ROOM - 1 - have, 0);
		if (n <= 0)
			break;
		have += (size_t)n;
		if (s->line[have - 1] != '\n' && have < ROOM - 1)
			continue;
		s->line[have - 1] = 0;
		have = 0;
		if (obey(s) < 0)
			break;
	}
	int fd = s->fd;
	give_back(s);
	close(fd);
	return NULL;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	int one = 1, l = socket(AF_INET, SOCK_STREAM, 0);

	for (int i = SLOTS - 1; i >= 0; i--)
		give_back(&slots[i]);
	signal(SIGPIPE, SIG_IGN);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	at.sin_port = htons((unsigned short)(argc > 1 ? atoi(argv[1]) : 0));
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(l, (struct sockaddr *)&at, sizeof at) < 0 || listen(l, 64) < 0) {
		perror("tally: listen");
		return 1;
	}
	for (;;) {
		pthread_t t;
		int fd = accept(l, NULL, NULL);
		if (fd < 0)
			continue;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		struct slot *s = take(fd);
		if (!s || pthread_create(&t, NULL, serve, s) != 0) {
			if (s)
				give_back(s);
			close(fd);
			continue;
		}
		pthread_detach(t);
	}
}
