// SPDX-License-Identifier: GPL-2.0
/* A stream between two domains: libxenvchan, which uses ports, pages and the xenstore. */

#include <libxenvchan.h>

#include "xenlibs.h"

#define CHUNK 3000

static uint8_t byte(long at)
{
	return at * 7 + (at >> 12);
}

/* Serves the other domain at a path of the xenstore: sends back so many bytes. */
void serve(char **words)
{
	struct libxenvchan *stream =
		libxenvchan_server_init(NULL, atoi(words[0]), words[1], 4096, 4096);
	uint8_t buffer[CHUNK];
	int got;

	must(stream);
	stream->blocking = 1;
	tell("ready\n");
	for (long left = atol(words[2]); left > 0; left -= got) {
		got = libxenvchan_read(stream, buffer, left < CHUNK ? left : CHUNK);
		must(got > 0);
		for (int sent = 0, now; sent < got; sent += now) {
			now = libxenvchan_write(stream, buffer + sent, got - sent);
			must(now > 0);
		}
	}
	/* The other side has all when it closes. */
	while (libxenvchan_is_open(stream) == 1)
		must(libxenvchan_wait(stream) == 0);
	libxenvchan_close(stream);
}

/* Sends so many bytes to such a server, and looks at what comes back. */
void call(char **words)
{
	struct libxenvchan *stream = libxenvchan_client_init(NULL, atoi(words[0]), words[1]);
	long count = atol(words[2]), sent = 0, got = 0;
	uint8_t buffer[CHUNK];

	must(stream);
	stream->blocking = 0;
	while (got < count) {
		long now = count - sent < CHUNK ? count - sent : CHUNK;
		bool moved = false;

		for (int i = 0; i < now; i++)
			buffer[i] = byte(sent + i);
		now = now ? libxenvchan_write(stream, buffer, now) : 0;
		must(now >= 0);
		sent += now;
		moved = now > 0;
		now = libxenvchan_read(stream, buffer, CHUNK);
		must(now >= 0);
		for (int i = 0; i < now; i++)
			must(buffer[i] == byte(got + i));
		got += now;
		if (!moved && !now)
			must(readable(libxenvchan_fd_for_select(stream), LIMIT) &&
			     libxenvchan_wait(stream) == 0);
	}
	must(libxenvchan_is_open(stream) == 1);
	libxenvchan_close(stream);
}
