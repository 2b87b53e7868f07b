// SPDX-License-Identifier: GPL-2.0
/*
 * Uses the devices under /dev/xen through Xen's own libraries, linked in as Debian has them: alone, or with the same
 * program in another domain. Ends with an error when something is not as the libraries' users expect.
 */

#include <poll.h>

#include "xenlibs.h"

bool readable(int file, int milliseconds)
{
	struct pollfd poller = { .fd = file, .events = POLLIN };

	must(poll(&poller, 1, milliseconds) >= 0);
	return poller.revents & POLLIN;
}

/* What the program does, by its first word, and how many follow. */
static const struct {
	const char *name;
	int words;
	const char *usage;
	void (*run)(char **words);
} parts[] = {
	{ "events", 0, "", events },
	{ "echo", 2, " DOMAIN COUNT", echo },
	{ "ping", 3, " DOMAIN PORT COUNT", ping },
	{ "outlive", 0, "", outlive },
	{ "pages", 1, " MOST", pages },
	{ "share", 2, " DOMAIN COUNT", share },
	{ "perish", 1, " DOMAIN", perish },
	{ "mourn", 3, " DOMAIN PORT REF", mourn },
	{ "keep", 2, " DOMAIN REF", keep },
	{ "grants", 7, " DOMAIN OWN-DOMAIN MOST REF REF REF READ-ONLY-REF", grants },
	{ "lend", 1, " DOMAIN", lend },
	{ "lose", 2, " DOMAIN REF", lose },
	{ "serve", 3, " DOMAIN PATH BYTES", serve },
	{ "call", 3, " DOMAIN PATH BYTES", call },
};

int main(int count, char **words)
{
	if (count > 3 && !strcmp(words[1], "answer")) {
		answer(count - 2, words + 2);
		return 0;
	}
	for (size_t i = 0; count > 1 && i < sizeof(parts) / sizeof(*parts); i++)
		if (count - 2 == parts[i].words && !strcmp(words[1], parts[i].name)) {
			parts[i].run(words + 2);
			return 0;
		}
	fprintf(stderr, "usage: xenlibs answer DOMAIN REF...\n");
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		fprintf(stderr, "       xenlibs %s%s\n", parts[i].name, parts[i].usage);
	return 2;
}
