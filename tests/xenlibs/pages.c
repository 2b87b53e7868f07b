// SPDX-License-Identifier: GPL-2.0
/* Pages that are shared and mapped, through libxengnttab. */

#include <fcntl.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <xenctrl.h>
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xen/gntalloc.h>

#include "xenlibs.h"

#define PAGE 4096
/* How many pages at most. */
#define MOST 256
/* What each side writes at the end of a page when it has written the rest. */
#define ASKED 0x5a
#define ANSWERED 0xa5

/* Fills all but the last byte of a page in a way that depends on its number and on who did it. */
static void fill(volatile uint8_t *page, int number, int who)
{
	for (int i = 0; i < PAGE - 1; i++)
		page[i] = number * 7 + i * 13 + who;
	__sync_synchronize();
	page[PAGE - 1] = who;
}

/* Waits until the other side has filled it, and looks. */
static void expect_filled(volatile uint8_t *page, int number, int who)
{
	for (int i = 0; page[PAGE - 1] != who; i++) {
		must(i < LIMIT);
		usleep(1000);
	}
	__sync_synchronize();
	for (int i = 0; i < PAGE - 1; i++)
		must(page[i] == (uint8_t)(number * 7 + i * 13 + who));
}

/* Shares so many pages with a domain, tells their references, and waits until it has answered in each. */
void share(char **words)
{
	xengntshr_handle *handle = xengntshr_open(NULL, 0);
	int count = atoi(words[1]);
	uint32_t refs[MOST];
	uint8_t *pages;

	must(handle && count > 0 && count <= MOST);
	pages = xengntshr_share_pages(handle, atoi(words[0]), count, refs, 1);
	must(pages);
	for (int i = 0; i < count; i++)
		fill(pages + i * PAGE, i, ASKED);
	for (int i = 0; i < count; i++)
		printf("%u ", refs[i]);
	tell("\n");
	for (int i = 0; i < count; i++)
		expect_filled(pages + i * PAGE, i, ANSWERED);
	must(!xengntshr_unshare(handle, pages, count));
	must(!xengntshr_close(handle));
}

/* Maps such pages, looks at them, and answers. */
void answer(int count, char **words)
{
	xengnttab_handle *handle = xengnttab_open(NULL, 0);
	int domain = atoi(words[0]);
	uint32_t refs[MOST];
	uint8_t *pages;

	count--;
	must(handle && count > 0 && count <= MOST);
	for (int i = 0; i < count; i++)
		refs[i] = atoi(words[i + 1]);
	pages = xengnttab_map_domain_grant_refs(handle, count, domain, refs,
						PROT_READ | PROT_WRITE);
	must(pages);
	for (int i = 0; i < count; i++) {
		expect_filled(pages + i * PAGE, i, ASKED);
		fill(pages + i * PAGE, i, ANSWERED);
	}
	must(!xengnttab_unmap(handle, pages, count));
	must(!xengnttab_close(handle));
}

/* Where the byte is that becomes 0 when a side lets go of a page. */
#define ALIVE 123

/* Shares a page and a port with a domain, tells both, and dies without a word when the domain has mapped it. */
void perish(char **words)
{
	xengntshr_handle *handle = xengntshr_open(NULL, 0);
	xenevtchn_handle *events = xenevtchn_open(NULL, 0);
	int domain = atoi(words[0]), port;
	volatile uint8_t *page;
	uint32_t ref;

	must(handle && events);
	port = xenevtchn_bind_unbound_port(events, domain);
	must(port > 0);
	page = xengntshr_share_page_notify(handle, domain, &ref, 1, ALIVE, port);
	must(page);
	page[ALIVE] = 1;
	tell("%d %u\n", port, ref);
	for (int i = 0; !page[0]; i++) {
		must(i < LIMIT);
		usleep(1000);
	}
	_exit(0);
}

/* Maps such a page, and waits for the event that tells of the end of the other side. */
void mourn(char **words)
{
	xengnttab_handle *handle = xengnttab_open(NULL, 0);
	xenevtchn_handle *events = xenevtchn_open(NULL, 0);
	int domain = atoi(words[0]), port;
	volatile uint8_t *page;

	must(handle && events);
	port = xenevtchn_bind_interdomain(events, domain, atoi(words[1]));
	must(port > 0);
	must(readable(xenevtchn_fd(events), LIMIT));
	must(xenevtchn_pending(events) == port);
	page = xengnttab_map_grant_ref(handle, domain, atoi(words[2]), PROT_READ | PROT_WRITE);
	must(page);
	must(page[ALIVE] == 1);
	must(!xenevtchn_unmask(events, port));
	page[0] = 1;
	must(readable(xenevtchn_fd(events), LIMIT));
	must(xenevtchn_pending(events) == port);
	must(page[ALIVE] == 0);
	must(!xengnttab_unmap(handle, (void *)page, 1));
	must(!xengnttab_close(handle));
	must(!xenevtchn_close(events));
}

/* Maps a page and keeps it until it is killed. */
void keep(char **words)
{
	xengnttab_handle *handle = xengnttab_open(NULL, 0);

	must(handle);
	must(xengnttab_map_grant_ref(handle, atoi(words[0]), atoi(words[1]), PROT_READ));
	tell("kept\n");
	pause();
}

/* A request for pages, with room for their references. */
struct alloc {
	struct ioctl_gntalloc_alloc_gref head;
	uint32_t more[2000];
};

static int alloc(int file, int domain, int count, struct alloc *alloc)
{
	alloc->head = (struct ioctl_gntalloc_alloc_gref){
		.domid = domain,
		.flags = GNTALLOC_FLAG_WRITABLE,
		.count = count,
	};
	return ioctl(file, IOCTL_GNTALLOC_ALLOC_GREF, alloc);
}

static void *map(int file, int count, int flags, uint64_t offset)
{
	return mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, flags, file, offset);
}

/* What /dev/xen/gntalloc takes and gives without another side, and what is refused. */
void pages(char **words)
{
	/* How many pages programs may have. */
	int most = atoi(words[0]), file = open("/dev/xen/gntalloc", O_RDWR), other;
	static struct alloc request, more;
	struct ioctl_gntalloc_dealloc_gref dealloc;
	struct ioctl_gntalloc_unmap_notify notify = { 0 };
	volatile uint8_t *here, *again;
	int status;

	must(file >= 0 && most < 2000);
	fails(alloc(file, 0, 0, &request), EINVAL);
	fails(alloc(file, 0x7ff0, 1, &request), EINVAL);
	fails(alloc(file, 0, most + 1, &request), ENOSPC);
	fails(ioctl(file, IOCTL_GNTALLOC_ALLOC_GREF, NULL), EFAULT);
	fails(ioctl(file, 0x4700, &request), ENOTTY);
	must(map(file, 1, MAP_SHARED, 0) == MAP_FAILED && errno == ENOENT);

	/* The limit is that of all files, and what failed counts nothing. */
	must(!alloc(file, 0, most - 1, &request));
	other = open("/dev/xen/gntalloc", O_RDWR);
	must(other >= 0);
	fails(alloc(other, 0, 2, &more), ENOSPC);
	must(!alloc(other, 0, 1, &more));
	fails(alloc(file, 0, 1, &more), ENOSPC);
	must(!close(other));
	must(!alloc(file, 0, 1, &more));
	must(more.head.index >= request.head.index + (most - 1) * PAGE);
	must(!close(file));

	file = open("/dev/xen/gntalloc", O_RDWR);
	must(file >= 0 && !alloc(file, 0, 4, &request));
	must(map(file, 4, MAP_PRIVATE, request.head.index) == MAP_FAILED && errno == EINVAL);
	must(map(file, 5, MAP_SHARED, request.head.index) == MAP_FAILED && errno == ENOENT);
	here = map(file, 4, MAP_SHARED, request.head.index);
	again = map(file, 2, MAP_SHARED, request.head.index + PAGE);
	must(here != MAP_FAILED && again != MAP_FAILED);
	for (int i = 0; i < 4 * PAGE; i++)
		must(here[i] == 0);
	here[PAGE] = 17;
	must(again[0] == 17);

	/* In the memory of a child, and in what is left of a mapping. */
	if (!fork()) {
		must(here[PAGE] == 17);
		here[2 * PAGE] = 18;
		must(!munmap((void *)here, 2 * PAGE));
		must(here[2 * PAGE] == 18);
		_exit(0);
	}
	must(wait(&status) > 0 && status == 0);
	must(again[PAGE] == 18);

	/* What is given up stays as long as it is mapped. */
	dealloc = (struct ioctl_gntalloc_dealloc_gref){ .index = request.head.index, .count = 5 };
	fails(ioctl(file, IOCTL_GNTALLOC_DEALLOC_GREF, &dealloc), EINVAL);
	dealloc.count = 4;
	must(!ioctl(file, IOCTL_GNTALLOC_DEALLOC_GREF, &dealloc));
	fails(ioctl(file, IOCTL_GNTALLOC_DEALLOC_GREF, &dealloc), EINVAL);
	must(map(file, 1, MAP_SHARED, request.head.index) == MAP_FAILED && errno == ENOENT);
	must(!munmap((void *)(here + PAGE), 2 * PAGE));
	must(again[0] == 17 && here[3 * PAGE] == 0);
	must(!munmap((void *)here, PAGE) && !munmap((void *)(here + 3 * PAGE), PAGE));
	must(again[PAGE] == 18);
	must(!munmap((void *)again, 2 * PAGE));

	/* What cannot be said at the end. */
	must(!alloc(file, 0, 1, &request));
	must(request.head.index >= 4 * PAGE);
	notify.index = request.head.index + PAGE;
	notify.action = UNMAP_NOTIFY_CLEAR_BYTE;
	fails(ioctl(file, IOCTL_GNTALLOC_SET_UNMAP_NOTIFY, &notify), ENOENT);
	notify.index = request.head.index + PAGE - 1;
	must(!ioctl(file, IOCTL_GNTALLOC_SET_UNMAP_NOTIFY, &notify));
	notify.action = UNMAP_NOTIFY_SEND_EVENT;
	notify.event_channel_port = 1;
	fails(ioctl(file, IOCTL_GNTALLOC_SET_UNMAP_NOTIFY, &notify), EINVAL);
	notify.action = 4;
	fails(ioctl(file, IOCTL_GNTALLOC_SET_UNMAP_NOTIFY, &notify), EINVAL);
	must(!close(file));
}
