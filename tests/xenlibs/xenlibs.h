/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of the program share. */

#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long anything may take, in milliseconds: the machine may be emulated. */
#define LIMIT 60000

/* Ends the program, saying what does not hold. */
#define must(holds)                                                                  \
	do {                                                                         \
		if (!(holds))                                                        \
			errx(1, "%s:%d: not so: %s (%s)", __FILE__, __LINE__, #holds, \
			     strerror(errno));                                       \
	} while (0)

/* The call fails with this error. */
#define fails(call, with)                                                            \
	do {                                                                         \
		errno = 0;                                                           \
		must((call) < 0);                                                    \
		must(errno == (with));                                               \
	} while (0)

/* Waits until a file is readable; false after so many milliseconds. */
bool readable(int file, int milliseconds);

/* Tells the other side, by a line on the standard output, what it needs to know. */
#define tell(...)                    \
	do {                         \
		printf(__VA_ARGS__); \
		fflush(stdout);      \
	} while (0)

/* Each reads its words, and returns when all was as it has to be. */
void events(char **words);
void echo(char **words);
void ping(char **words);
void outlive(char **words);
void pages(char **words);
void share(char **words);
void answer(int count, char **words);
void perish(char **words);
void mourn(char **words);
void keep(char **words);
void grants(char **words);
void lend(char **words);
void lose(char **words);
void serve(char **words);
void call(char **words);
