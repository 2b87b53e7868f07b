// SPDX-License-Identifier: GPL-2.0
/* Event channels, through libxenevtchn. */

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <xenctrl.h>
#include <xenevtchn.h>
#include <xen/evtchn.h>

#include "xenlibs.h"

static xenevtchn_handle *open_events(void)
{
	xenevtchn_handle *handle = xenevtchn_open(NULL, 0);

	must(handle);
	return handle;
}

/* The port that fires next, within the limit. */
static evtchn_port_t next(xenevtchn_handle *handle)
{
	int port;

	must(readable(xenevtchn_fd(handle), LIMIT));
	port = xenevtchn_pending(handle);
	must(port > 0);
	return port;
}

/* Takes an event and ends it. */
static void expect(xenevtchn_handle *handle, evtchn_port_t port)
{
	evtchn_port_t fired = next(handle);

	if (fired != port)
		errx(1, "port %u has fired in the place of %u", fired, port);
	must(!xenevtchn_unmask(handle, port));
}

struct pair {
	evtchn_port_t here, there;
};

/* Two ports of this domain that are connected, of which the second fires. */
static struct pair connect_both(xenevtchn_handle *here, xenevtchn_handle *there)
{
	struct pair pair;
	int port = xenevtchn_bind_unbound_port(here, DOMID_SELF);

	must(port > 0);
	pair.here = port;
	port = xenevtchn_bind_interdomain(there, DOMID_SELF, pair.here);
	must(port > 0);
	pair.there = port;
	return pair;
}

/* As above, and that has come. */
static struct pair connect_to_self(xenevtchn_handle *here, xenevtchn_handle *there)
{
	struct pair pair = connect_both(here, there);

	expect(there, pair.there);
	return pair;
}

/* A port fires once as it is bound, although its interrupt goes to another CPU right then. */
static void once(void)
{
	for (int round = 0; round < 50; round++) {
		xenevtchn_handle *here = open_events(), *there = open_events();

		connect_to_self(here, there);
		must(!readable(xenevtchn_fd(there), 10));
		must(!xenevtchn_close(there));
		must(!xenevtchn_close(here));
	}
}

/* A port that has fired stays silent until it is written back, and then tells once what came meanwhile. */
static void masking(void)
{
	xenevtchn_handle *here = open_events(), *there = open_events();
	struct pair first = connect_to_self(here, there), second = connect_to_self(here, there);

	must(!xenevtchn_notify(there, first.there));
	must(next(here) == first.here);
	for (int i = 0; i < 3; i++)
		must(!xenevtchn_notify(there, first.there));
	/* When this has come, those before it would have. */
	must(!xenevtchn_notify(there, second.there));
	expect(here, second.here);
	must(!readable(xenevtchn_fd(here), 0));
	must(!xenevtchn_unmask(here, first.here));
	expect(here, first.here);
	must(!xenevtchn_notify(there, second.there));
	expect(here, second.here);
	must(!readable(xenevtchn_fd(here), 0));

	/* The other way round. */
	must(!xenevtchn_notify(here, first.here));
	expect(there, first.there);
	must(!xenevtchn_close(there));
	must(!xenevtchn_close(here));
}

/* What read and write take and give, and what is refused. */
static void files(void)
{
	xenevtchn_handle *here = open_events(), *there = open_events();
	struct pair pair = connect_to_self(here, there);
	struct ioctl_evtchn_notify other = { .port = pair.there };
	struct ioctl_evtchn_bind_unbound_port nobody = { .remote_domain = 0x10000 };
	int file = xenevtchn_fd(here);
	uint32_t ports[4] = { pair.there, 0, UINT32_MAX, pair.there };

	must(fcntl(file, F_SETFL, O_NONBLOCK) == 0);
	fails(read(file, ports, 4), EAGAIN);
	must(read(file, ports, 3) == 0);
	/* Ports of others are passed over, and so is what is no whole port. */
	must(write(file, ports, sizeof(ports)) == sizeof(ports));
	must(write(file, ports, 7) == 4);
	fails(ioctl(file, IOCTL_EVTCHN_NOTIFY, &other), ENOTCONN);
	fails(ioctl(file, IOCTL_EVTCHN_UNBIND, &other), ENOTCONN);
	fails(ioctl(file, IOCTL_EVTCHN_BIND_UNBOUND_PORT, &nobody), EINVAL);
	fails(ioctl(file, IOCTL_EVTCHN_BIND_UNBOUND_PORT, NULL), EFAULT);
	fails(ioctl(file, IOCTL_EVTCHN_BIND_STATIC, &other), ENOTTY);
	fails(ioctl(file, 0x4500, &other), ENOTTY);
	fails(xenevtchn_bind_interdomain(here, DOMID_SELF, pair.here), EINVAL);

	/* What was not read is forgotten. Then the port is silent until it is written back. */
	must(!xenevtchn_notify(there, pair.there));
	must(readable(file, LIMIT));
	must(!ioctl(file, IOCTL_EVTCHN_RESET, 0));
	must(!readable(file, 0));
	must(!xenevtchn_unmask(here, pair.here));
	must(!xenevtchn_notify(there, pair.there));
	must(readable(file, LIMIT));
	/* So is a port that is closed. */
	must(!xenevtchn_unbind(here, pair.here));
	must(!readable(file, 0));
	fails(xenevtchn_unbind(here, pair.here), ENOTCONN);
	must(!xenevtchn_close(there));
	must(!xenevtchn_close(here));
}

/* A file that may name one domain only. */
static void restriction(void)
{
	xenevtchn_handle *here = open_events(), *there = open_events();
	struct pair pair = connect_to_self(here, there);

	fails(xenevtchn_restrict(here, 0), EINVAL);
	fails(xenevtchn_restrict(here, DOMID_SELF), EINVAL);
	must(!xenevtchn_restrict(here, 77));
	fails(xenevtchn_restrict(here, 77), EACCES);
	fails(xenevtchn_bind_unbound_port(here, 0), EACCES);
	fails(xenevtchn_bind_interdomain(here, 78, 1), EACCES);
	fails(xenevtchn_bind_virq(here, VIRQ_DEBUG), EACCES);
	/* What it had, it has. */
	must(!xenevtchn_notify(there, pair.there));
	expect(here, pair.here);
	must(!xenevtchn_close(there));
	must(!xenevtchn_close(here));
}

/* A program that writes back what it did not read is told, and does no harm. */
static void overflow(void)
{
	xenevtchn_handle *here = open_events(), *there = open_events();
	struct pair pair = connect_to_self(here, there), other = connect_to_self(here, there);
	struct pollfd poller = { .fd = xenevtchn_fd(here), .events = POLLIN };
	evtchn_port_t port;

	/* Some come too late for a turn, and count once. */
	for (time_t start = time(NULL); !(poller.revents & POLLERR);) {
		must(time(NULL) - start < LIMIT / 1000);
		must(!xenevtchn_notify(there, pair.there));
		must(!xenevtchn_unmask(here, pair.here));
		must(poll(&poller, 1, 0) >= 0);
	}
	fails(xenevtchn_pending(here), EFBIG);
	must(!ioctl(poller.fd, IOCTL_EVTCHN_RESET, 0));
	must(!xenevtchn_notify(there, other.there));
	while ((port = next(here)) != other.here)
		must(!xenevtchn_unmask(here, port));
	must(!xenevtchn_close(there));
	must(!xenevtchn_close(here));
}

/* Many ports in one file; all are gone with it, so it can be done again and again. */
static void many(void)
{
	for (int round = 0; round < 3; round++) {
		xenevtchn_handle *handle = open_events();

		for (int i = 0; i < 300; i++)
			must(xenevtchn_bind_unbound_port(handle, DOMID_SELF) > 0);
		must(!xenevtchn_close(handle));
	}
}

void events(char **words)
{
	(void)words;

	once();
	masking();
	files();
	restriction();
	overflow();
	many();
}

/* Makes a port for the other domain, tells its number, and answers so many events. */
void echo(char **words)
{
	xenevtchn_handle *handle = open_events();
	int port = xenevtchn_bind_unbound_port(handle, atoi(words[0]));

	must(port > 0);
	tell("%d\n", port);
	for (int i = atoi(words[1]); i > 0; i--) {
		expect(handle, port);
		must(!xenevtchn_notify(handle, port));
	}
	must(!xenevtchn_close(handle));
}

/* Sends so many events to such a port, and waits for each answer. */
void ping(char **words)
{
	xenevtchn_handle *handle = open_events();
	int port = xenevtchn_bind_interdomain(handle, atoi(words[0]), atoi(words[1]));

	must(port > 0);
	/* It fires as it is bound. */
	expect(handle, port);
	for (int i = atoi(words[2]); i > 0; i--) {
		must(!xenevtchn_notify(handle, port));
		expect(handle, port);
	}
	must(!xenevtchn_close(handle));
}

/* Waits until the domain was restored elsewhere, with ports that are gone then. */
void outlive(char **words)
{
	xenevtchn_handle *here = open_events(), *other = open_events();
	/* For an error. */
	struct pollfd poller = { .fd = xenevtchn_fd(here) };
	struct pair lost[32], later;

	(void)words;
	for (int i = 0; i < 32; i++)
		lost[i] = connect_both(here, here);
	tell("waiting\n");
	must(poll(&poller, 1, 10 * LIMIT) == 1);
	must(poller.revents == POLLERR);
	fails(xenevtchn_pending(here), EIO);
	fails(xenevtchn_notify(here, lost[0].here), EIO);
	fails(xenevtchn_bind_unbound_port(here, DOMID_SELF), EIO);

	/* A file without ports goes on, with ports that have the numbers of lost ones, which do not touch them. */
	do
		later.here = xenevtchn_bind_unbound_port(other, DOMID_SELF);
	while (xenevtchn_notify(here, later.here) < 0 && errno == ENOTCONN);
	must(errno == EIO);
	later.there = xenevtchn_bind_interdomain(other, DOMID_SELF, later.here);
	do
		expect(other, later.there);
	while (readable(xenevtchn_fd(other), 200));
	for (int i = 0; i < 32; i++) {
		must(!xenevtchn_unbind(here, lost[i].here));
		fails(xenevtchn_pending(here), EIO);
		must(!xenevtchn_unbind(here, lost[i].there));
	}
	must(!xenevtchn_notify(other, later.there));
	expect(other, later.here);
	must(!xenevtchn_notify(other, later.here));
	expect(other, later.there);

	/* Without the lost ones the file is as new. */
	later = connect_to_self(here, other);
	must(!xenevtchn_notify(other, later.there));
	expect(here, later.here);
	must(!xenevtchn_close(here));
	must(!xenevtchn_close(other));
}
