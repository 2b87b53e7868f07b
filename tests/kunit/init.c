// SPDX-License-Identifier: GPL-2.0
/*
 * The only process of a KUnit run: loads the modules in /modules in the order of their
 * names, which runs their suites, unloads them again, looks for leaks, and powers off.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <dirent.h>
#include <errno.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>

#define LEAKS "/sys/kernel/debug/kmemleak"

/* The kernel's log, not the console: there a line of ours could begin within one of KUnit's. */
static int kmsg = -1;

#define say(...) dprintf(kmsg, "kunit: " __VA_ARGS__)

static void name_of(const char *file, char *name, size_t size)
{
	/* 10-oxen_xen_core.ko is the module oxen_xen_core. */
	snprintf(name, size, "%s", strchr(file, '-') + 1);
	name[strlen(name) - 3] = 0;
}

static void leaks(const char *command)
{
	int fd = open(LEAKS, O_WRONLY);

	if (fd < 0 || write(fd, command, strlen(command)) < 0)
		say("no leak check: %m\n");
	close(fd);
}

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

int main(void)
{
	struct dirent **list;
	char path[300], name[300], line[300];
	int count, i, fd;
	FILE *file;

	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);
	mount("debug", "/sys/kernel/debug", "debugfs", 0, NULL);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	count = scandir("/modules", &list, visible, alphasort);
	/* What the boot left behind is not ours. */
	leaks("scan");
	leaks("clear");
	for (i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "/modules/%s", list[i]->d_name);
		name_of(list[i]->d_name, name, sizeof(name));
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (syscall(SYS_finit_module, fd, "", 0) != 0)
			say("%s does not load: %m\n", name);
		else
			say("%s loaded\n", name);
		close(fd);
	}
	for (i = count - 1; i >= 0; i--) {
		name_of(list[i]->d_name, name, sizeof(name));
		if (syscall(SYS_delete_module, name, O_NONBLOCK) != 0 && errno != ENOENT)
			say("%s does not unload: %m\n", name);
	}
	/* A leak shows only after five seconds, and twice is surer. */
	sleep(6);
	leaks("scan");
	leaks("scan");
	file = fopen(LEAKS, "r");
	while (file && fgets(line, sizeof(line), file))
		say("leak: %s", line);
	say("end\n");
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}
