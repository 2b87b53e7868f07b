// SPDX-License-Identifier: GPL-2.0
/* Pages of another domain, through libxengnttab. */

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <xenctrl.h>
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xen/gntdev.h>
#include <xen/grant_table.h>

#include "xenlibs.h"

#define PAGE 4096
#define PAGES 3

static xengnttab_handle *maps;
/* The other domain, its pages, and what they look like through another mapping. */
static int domain;
static uint32_t refs[PAGES], readonly;
static volatile uint8_t *shared;

/* Whether a write to an address ends the program. */
static bool write_kills(volatile uint8_t *address)
{
	pid_t child = fork();
	int status;

	must(child >= 0);
	if (!child) {
		*address = 1;
		_exit(0);
	}
	must(waitpid(child, &status, 0) == child);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static void both_ways(void)
{
	volatile uint8_t *mapped = xengnttab_map_domain_grant_refs(maps, PAGES, domain, refs,
								   PROT_READ | PROT_WRITE);
	volatile uint8_t *again = xengnttab_map_grant_ref(maps, domain, refs[1], PROT_READ);

	must(mapped && again);
	for (int i = 0; i < PAGES * PAGE; i += 61) {
		shared[i] = i;
		must(mapped[i] == (uint8_t)i);
		mapped[i] = i + 1;
		must(shared[i] == (uint8_t)(i + 1));
	}
	must(again[62] == shared[PAGE + 62]);
	must(write_kills(again));
	must(mprotect((void *)again, PAGE, PROT_READ | PROT_WRITE) < 0);
	must(!write_kills(mapped + PAGE));
	must(shared[PAGE] == 1 && again[0] == 1);
	must(!xengnttab_unmap(maps, (void *)again, 1));
	must(!xengnttab_unmap(maps, (void *)mapped, PAGES));
}

/* What is not granted is not mapped, and nothing is left of the attempt. */
static void refused(int own)
{
	uint32_t bad[PAGES] = { refs[0], refs[1], 1 << 20 };
	uint32_t ref;
	xengntshr_handle *shares = xengntshr_open(NULL, 0);
	volatile uint8_t *mapped, *page;

	must(!xengnttab_map_domain_grant_refs(maps, PAGES, domain, bad, PROT_READ));
	must(!xengnttab_map_grant_ref(maps, 0x7abc, refs[0], PROT_READ));
	must(!xengnttab_map_grant_ref(maps, 0x10000, refs[0], PROT_READ));
	must(!xengnttab_map_grant_ref(maps, domain, readonly, PROT_READ | PROT_WRITE));
	mapped = xengnttab_map_grant_ref(maps, domain, readonly, PROT_READ);
	must(mapped);
	must(!xengnttab_unmap(maps, (void *)mapped, 1));

	/* A page of ours would be taken out of its place. */
	must(shares);
	page = xengntshr_share_pages(shares, own, 1, &ref, 1);
	must(page);
	page[7] = 70;
	must(!xengnttab_map_grant_ref(maps, own, ref, PROT_READ));
	must(!xengnttab_map_grant_ref(maps, DOMID_SELF, ref, PROT_READ));
	must(page[7] == 70);
	must(!xengntshr_unshare(shares, (void *)page, 1));
	must(!xengntshr_close(shares));
}

/* The other side learns by the port and the page that the page was unmapped. */
static void notified(void)
{
	xenevtchn_handle *here = xenevtchn_open(NULL, 0), *there = xenevtchn_open(NULL, 0);
	int port, other;
	volatile uint8_t *mapped;

	must(here && there);
	port = xenevtchn_bind_unbound_port(here, DOMID_SELF);
	must(port > 0);
	other = xenevtchn_bind_interdomain(there, DOMID_SELF, port);
	must(other > 0);
	must(!xengnttab_map_grant_ref_notify(maps, domain, refs[0], PROT_READ, 9, other));
	mapped = xengnttab_map_grant_ref_notify(maps, domain, refs[0], PROT_READ | PROT_WRITE, 9,
						other);
	must(mapped);
	shared[9] = shared[10] = 1;
	while (readable(xenevtchn_fd(here), 0))
		must(!xenevtchn_unmask(here, xenevtchn_pending(here)));
	/* The port is closed here, but not before it was notified. */
	must(!xenevtchn_unbind(there, other));
	must(!xengnttab_unmap(maps, (void *)mapped, 1));
	must(readable(xenevtchn_fd(here), LIMIT));
	must(xenevtchn_pending(here) == port);
	must(shared[9] == 0 && shared[10] == 1);
	must(!xenevtchn_close(there));
	must(!xenevtchn_close(here));
}

static xengnttab_grant_copy_segment_t copy_in(void *to, uint32_t ref, int offset, int length)
{
	xengnttab_grant_copy_segment_t segment = {
		.source.foreign = { .ref = ref, .offset = offset, .domid = domain },
		.dest.virt = to,
		.len = length,
		.flags = GNTCOPY_source_gref,
	};

	return segment;
}

static void copies(void)
{
	static uint8_t buffer[2 * PAGE];
	xengnttab_grant_copy_segment_t segments[3] = {
		/* Over the end of one of our pages. */
		copy_in(buffer + PAGE - 1000, refs[0], 96, 4000),
		copy_in(buffer, 1 << 20, 0, 16),
		{
			.source.virt = buffer + PAGE - 1000,
			.dest.foreign = { .ref = refs[1], .offset = 1, .domid = domain },
			.len = 4000,
			.flags = GNTCOPY_dest_gref,
		},
	};

	for (int i = 0; i < PAGE; i++)
		shared[i] = i * 3;
	must(!xengnttab_grant_copy(maps, 3, segments));
	must(segments[0].status == 0 && segments[1].status < 0 && segments[2].status == 0);
	for (int i = 0; i < 4000; i++) {
		must(buffer[PAGE - 1000 + i] == (uint8_t)((96 + i) * 3));
		must(shared[PAGE + 1 + i] == (uint8_t)((96 + i) * 3));
	}
	segments[0] = copy_in(buffer, refs[0], 97, 4000);
	fails(xengnttab_grant_copy(maps, 1, segments), EINVAL);
	segments[0] = copy_in(NULL, refs[0], 0, 16);
	fails(xengnttab_grant_copy(maps, 1, segments), EFAULT);
	segments[0] = copy_in(buffer, refs[0], 0, 16);
	segments[0].flags = 0;
	fails(xengnttab_grant_copy(maps, 1, segments), EINVAL);
}

/* What the file takes and gives. */
static void files(int most)
{
	int file = open("/dev/xen/gntdev", O_RDWR);
	struct ioctl_gntdev_map_grant_ref map = { .count = 1 };
	struct ioctl_gntdev_unmap_grant_ref unmap = { .count = 1 };
	struct ioctl_gntdev_get_offset_for_vaddr find = { 0 };
	struct ioctl_gntdev_set_max_grants set = { .count = most + 1 };
	volatile uint8_t *mapped;

	must(file >= 0);
	map.refs[0].domid = domain;
	map.refs[0].ref = refs[0];
	fails(ioctl(file, 0x4704, &map), ENOTTY);
	fails(ioctl(file, IOCTL_GNTDEV_MAP_GRANT_REF, NULL), EFAULT);
	fails(ioctl(file, IOCTL_GNTDEV_SET_MAX_GRANTS, &set), EINVAL);
	set.count = 1;
	must(!ioctl(file, IOCTL_GNTDEV_SET_MAX_GRANTS, &set));
	for (uint32_t count = 0; count <= (uint32_t)most + 1; count += most + 1) {
		map.count = count;
		fails(ioctl(file, IOCTL_GNTDEV_MAP_GRANT_REF, &map), EINVAL);
	}
	map.count = 1;
	must(!ioctl(file, IOCTL_GNTDEV_MAP_GRANT_REF, &map) && map.index == 0);
	fails(ioctl(file, IOCTL_GNTDEV_MAP_GRANT_REF, &map), ENOSPC);
	fails(ioctl(file, IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR, &find), EINVAL);
	must(mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, file, 0) == MAP_FAILED);
	must(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0) == MAP_FAILED);
	mapped = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	must(mapped != MAP_FAILED);
	must(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0) == MAP_FAILED && errno == EINVAL);
	find.vaddr = (uintptr_t)mapped;
	must(!ioctl(file, IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR, &find));
	must(find.offset == 0 && find.count == 1);

	/* Given up, it stays as long as it is mapped; what is mapped outlives the file. */
	must(!ioctl(file, IOCTL_GNTDEV_UNMAP_GRANT_REF, &unmap));
	fails(ioctl(file, IOCTL_GNTDEV_UNMAP_GRANT_REF, &unmap), ENOENT);
	must(!close(file));
	shared[5] = 50;
	must(mapped[5] == 50);
	must(!munmap((void *)mapped, PAGE));
}

/* All this with pages that the other domain has lent, the last one for reading only. */
void grants(char **words)
{
	xengnttab_handle *other = xengnttab_open(NULL, 0);

	maps = xengnttab_open(NULL, 0);
	must(other && maps);
	domain = atoi(words[0]);
	for (int i = 0; i < PAGES; i++)
		refs[i] = atoi(words[3 + i]);
	readonly = atoi(words[3 + PAGES]);
	shared = xengnttab_map_domain_grant_refs(other, PAGES, domain, refs,
						 PROT_READ | PROT_WRITE);
	must(shared);
	both_ways();
	refused(atoi(words[1]));
	notified();
	copies();
	files(atoi(words[2]));
	must(!xengnttab_unmap(other, (void *)shared, PAGES));
	must(!xengnttab_close(other));
	must(!xengnttab_close(maps));
}

/* Lends such pages to a domain until it is killed. */
void lend(char **words)
{
	xengntshr_handle *handle = xengntshr_open(NULL, 0);

	must(handle);
	must(xengntshr_share_pages(handle, atoi(words[0]), PAGES, refs, 1));
	must(xengntshr_share_pages(handle, atoi(words[0]), 1, &readonly, 0));
	for (int i = 0; i < PAGES; i++)
		printf("%u ", refs[i]);
	tell("%u\n", readonly);
	pause();
}

static bool is_zero(volatile uint8_t *page)
{
	for (int i = 0; i < PAGE; i++)
		if (page[i])
			return false;
	return true;
}

/* Maps a page with something in it until the guest is another domain; then there is memory of its own, and empty. */
void lose(char **words)
{
	volatile uint8_t *page;

	maps = xengnttab_open(NULL, 0);
	must(maps);
	page = xengnttab_map_grant_ref(maps, atoi(words[0]), atoi(words[1]), PROT_READ | PROT_WRITE);
	must(page && !is_zero(page));
	tell("mapped\n");
	for (int i = 0; i < 10 * LIMIT / 100 && !is_zero(page); i++)
		usleep(100000);
	must(is_zero(page));
	page[5] = 50;
	must(page[5] == 50);
	must(!xengnttab_unmap(maps, (void *)page, 1));
	must(!xengnttab_close(maps));
}
