// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/evtchn`: ports for programs, as libxenevtchn uses them.
//!
//! A read returns the ports that have fired, 4 bytes each. One that has fired stays masked until the program writes it back,
//! so that no peer keeps this guest busy with a program that does not listen. Each open file has ports of its own, which are
//! closed with it.
//!
//! After the domain was restored elsewhere they are gone, and the file fails until all of these are closed. A program learns so
//! that it has to connect anew; the C driver's would wait for ever.

mod ports;

use abi::{
    types::Port,
    userdev::{
        domain,
        evtchn::{
            BindInterdomain,
            BindUnbound,
            BindVirq,
            Command,
            OnePort,
            Reach,
            Refused,
            Restrict, //
        }, //
    },
};
use evtchn::Channel;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    uaccess::{
        UserSliceReader,
        UserSliceWriter, //
    },
};
use linux::{
    miscdev::{
        Argument,
        NoPages,
        Readiness,
        Stream, //
    },
    sync::wait::{
        Sleep,
        WaitQueue,
        Woken, //
    },
};

use self::ports::Ports;
use crate::{
    inbox::Inbox,
    known::Known, //
};

/// Bytes of a port.
const PORT: usize = size_of::<Port>();

/// What is under the lock of a file.
struct Own {
    ports: Ports,
    reach: Reach,
}

/// An open file.
#[pin_data]
pub(crate) struct File {
    inbox: Arc<Inbox>,
    #[pin]
    own: Mutex<Own>,
}

impl File {
    /// Reads ports as long as there are any. Returns how many bytes they are.
    fn take(&self, into: &mut UserSliceWriter) -> Result<usize> {
        // No port of these is closed meanwhile.
        let _own = self.own.lock();
        let before = into.len();
        while into.len() >= PORT {
            let Some(port) = self.inbox.take()? else {
                break;
            };
            if let Err(error) = into.write_slice(&port.0.to_ne_bytes()) {
                self.inbox.tell(port);
                return Err(error);
            }
        }
        Ok(before.saturating_sub(into.len()))
    }

    /// Makes a port of a channel that `channel` makes.
    fn bind(&self, own: &mut Own, channel: impl FnOnce() -> Result<Channel>) -> Result<u32> {
        own.ports.add(&self.inbox, channel).map(|port| port.0)
    }
}

impl Stream for File {
    const NAME: &'static CStr = c"xen/evtchn";

    type Module = crate::Own;

    type Context = Arc<Known>;

    type Pages = NoPages;

    fn open(known: &Arc<Known>, wait: Arc<WaitQueue>) -> Result<Arc<Self>> {
        let inbox = Inbox::new(wait)?;
        let own = Own {
            ports: Ports::new(known.clone()),
            reach: Reach::default(),
        };
        Arc::pin_init(
            pin_init!(Self {
                inbox,
                own <- new_mutex!(own, "oxen_userdev_evtchn"),
            }),
            GFP_KERNEL,
        )
    }

    fn read(&self, mut into: UserSliceWriter, nonblocking: bool) -> Result<usize> {
        loop {
            let done = self.take(&mut into)?;
            if done > 0 || into.len() < PORT {
                return Ok(done);
            }
            if nonblocking {
                return Err(EAGAIN);
            }
            if self.inbox.wait(Sleep::Interruptible) == Woken::Signal {
                return Err(ERESTARTSYS);
            }
        }
    }

    /// Ends the events of ports. A port that is not this file's is passed over.
    fn write(&self, mut from: UserSliceReader, _nonblocking: bool) -> Result<usize> {
        let own = self.own.lock();
        let before = from.len();
        while from.len() >= PORT {
            let mut port = [0; PORT];
            from.read_slice(&mut port)?;
            own.ports.written(Port(u32::from_ne_bytes(port)));
        }
        Ok(before.saturating_sub(from.len()))
    }

    fn ioctl(&self, command: u32, argument: Argument) -> Result<u32> {
        let command = Command::from_number(command).ok_or(ENOTTY)?;
        let mut own = self.own.lock();
        match command {
            Command::BindVirq => {
                if !own.reach.is_all() {
                    return Err(EACCES);
                }
                let BindVirq { virq } = argument.read()?;
                self.bind(&mut own, || Channel::bind_virq(virq, 0))
            }
            Command::BindInterdomain => {
                let BindInterdomain {
                    remote,
                    remote_port,
                } = argument.read()?;
                let remote = domain(remote).ok_or(EINVAL)?;
                if !own.reach.has(remote) {
                    return Err(EACCES);
                }
                self.bind(&mut own, || Channel::bind_interdomain(remote, remote_port))
            }
            Command::BindUnbound => {
                let BindUnbound { remote } = argument.read()?;
                let remote = domain(remote).ok_or(EINVAL)?;
                if !own.reach.has(remote) {
                    return Err(EACCES);
                }
                self.bind(&mut own, || Channel::alloc_unbound(remote))
            }
            Command::Unbind => {
                let OnePort { port } = argument.read()?;
                own.ports.remove(port)?;
                self.inbox.forget(port);
                Ok(0)
            }
            Command::Notify => {
                let OnePort { port } = argument.read()?;
                own.ports.notify(port)?;
                Ok(0)
            }
            Command::Reset => {
                self.inbox.clear();
                Ok(0)
            }
            Command::Restrict => {
                let Restrict { domain } = argument.read()?;
                match own.reach.restrict(domain) {
                    Ok(()) => Ok(0),
                    Err(Refused::Already) => Err(EACCES),
                    Err(Refused::Domain) => Err(EINVAL),
                }
            }
        }
    }

    fn poll(&self) -> Readiness {
        Readiness {
            readable: self.inbox.is_readable(),
            writable: true,
            failed: self.inbox.has_failed(),
            ..Readiness::default()
        }
    }

    fn release(&self) {
        self.own.lock().ports.clear();
    }
}
