// SPDX-License-Identifier: GPL-2.0

//! What the connection of a block device is made of; the bus decides when.

use crate::{
    disk::Vdisk,
    gendisk::Gendisk,
    keys,
    nodes::Nodes,
    operations::Handler,
    ring::QueueRing, //
};
use abi::{
    block::{
        features::{
            is_frontend_key,
            Agreed, //
        },
        geometry::Geometry,
        nodes::LEAST,
        vbd::Vbd, //
    },
    connection::State,
};
use evtchn::{
    Channel,
    Listener, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};
use linux::fmt::Shown;
use xen_core::{
    emulated_twin_attached,
    Twin, //
};
use xenbus::{
    Device,
    Publication, //
};

/// A block device.
#[pin_data]
pub(crate) struct Frontend {
    number: u32,
    #[pin]
    inner: Mutex<Inner>,
    gendisk: Arc<Gendisk>,
}

/// What only the callbacks of the bus use.
struct Inner {
    /// The disk's part that outlives its connections.
    vdisk: Option<Arc<Vdisk>>,
    agreed: Option<Agreed>,
    /// Nodes of the connection that is published.
    nodes: Option<Nodes>,
    listeners: KVec<Listener<Handler>>,
    /// The rings until the backend has connected.
    rings: KVec<QueueRing>,
}

/// What the queues do not keep themselves of a connection that is not used any more.
pub(crate) struct Retired {
    /// Declared first: no event comes any more when the rings are taken down.
    _listeners: KVec<Listener<Handler>>,
    /// Rings that no queue got.
    _rings: KVec<QueueRing>,
}

impl xenbus::Driver for Frontend {
    const NAME: &'static CStr = c"oxen_blkfront";
    const DEVICE_TYPES: &'static [&'static CStr] = &[c"vbd"];
    const PUBLISHED: State = State::Initialised;
    type Retired = Retired;

    fn is_own_key(key: &[u8]) -> bool {
        is_frontend_key(key)
    }

    fn probe(device: &Device) -> Result<Arc<Self>> {
        let number = device.id()?;
        if let Err(error) = Vbd::parse(number) {
            dev_err!(device.as_ref(), "{}: {}\n", number, Shown(error));
            return Err(EINVAL);
        }
        if keys::is_cdrom(device) {
            dev_info!(
                device.as_ref(),
                "it is a CD-ROM drive, which the emulated one serves\n"
            );
            return Err(ENODEV);
        }
        if emulated_twin_attached(Twin::Disk) {
            dev_err!(
                device.as_ref(),
                "an emulated disk with the same data is in use: unload its driver, or load oxen_xen_core before it\n"
            );
            return Err(ENODEV);
        }
        Arc::pin_init(
            try_pin_init!(Self {
                number,
                inner <- new_mutex!(Inner {
                    vdisk: None,
                    agreed: None,
                    nodes: None,
                    listeners: KVec::new(),
                    rings: KVec::new(),
                }),
                gendisk: Gendisk::new(device)?,
            }? Error),
            GFP_KERNEL,
        )
    }

    fn publish(&self, device: &Device, keys: &mut Publication) -> Result {
        let mut inner = self.inner.lock();
        let mut wanted = keys::wanted(device)?;
        if let Some(vdisk) = &inner.vdisk {
            wanted.queues = vdisk.queues().len().try_into().unwrap_or(1);
        }
        let agreed = Agreed::settle(&keys::offer(device)?, &wanted);
        // Those of a connection before are replaced.
        inner.nodes = None;
        let most = if keys.is_short() {
            LEAST
        } else {
            Nodes::share(keys::disks(device)?)
        };
        let agreed = agreed.within(most);
        inner.nodes = Some(Nodes::take(agreed.nodes()));
        // The part of the disk that outlives its connections is made with the first one.
        let vdisk = match &inner.vdisk {
            Some(vdisk) => vdisk.clone(),
            None => Vdisk::new(device, self.number, &agreed)?,
        };
        inner.vdisk = Some(vdisk.clone());
        for index in 0..u32::from(agreed.queues()) {
            let channel = Channel::alloc_unbound(device.otherend_id())?;
            let handler = Arc::new(Handler::new(vdisk.clone(), index), GFP_KERNEL)?;
            let listener = if agreed.queues() > 1 {
                Listener::new(channel, fmt!("{}-q{}", Shown(vdisk.vbd()), index), handler)?
            } else {
                Listener::new(channel, fmt!("{}", Shown(vdisk.vbd())), handler)?
            };
            // The lower bits are what a backend that looks at it at all expects.
            let handle = (self.number & 0xffff) as u16;
            let ring = QueueRing::new(device.otherend_id(), handle, &agreed, listener.notifier())?;
            inner.listeners.push(listener, GFP_KERNEL)?;
            inner.rings.push(ring, GFP_KERNEL)?;
        }
        inner.agreed = Some(agreed);
        keys::publish(keys, &agreed, &inner.rings)
    }

    fn attach(&self, device: &Device) -> Result {
        let mut inner = self.inner.lock();
        let (Some(vdisk), Some(agreed)) = (inner.vdisk.clone(), inner.agreed) else {
            return Err(EINVAL);
        };
        let agreed = agreed.connected(&keys::offer(device)?);
        let geometry = Geometry::check(&keys::described(device)?).map_err(|error| {
            dev_err!(device.as_ref(), "{}\n", Shown(error));
            EINVAL
        })?;
        self.gendisk.obey(&vdisk, &agreed, &geometry)?;
        inner.agreed = Some(agreed);
        for ring in inner.rings.iter_mut() {
            ring.connected(&agreed)?;
        }
        vdisk.set_active(agreed.queues());
        if agreed.queues() > 1 {
            // An event comes where the requests come from, so that none has to be sent on.
            for (index, listener) in (0..).zip(&inner.listeners) {
                let _ = listener.set_affinity(self.gendisk.cpus_of(index));
            }
        }
        for (queue, ring) in vdisk.queues().iter().zip(inner.rings.drain_all()) {
            queue.connect(ring).map_err(|_| EINVAL)?;
        }
        vdisk.count_connection();
        vdisk.start_queues();
        self.gendisk.add_soon();
        Ok(())
    }

    /// The disk may have another size.
    fn refresh(&self, device: &Device) {
        let described = keys::described(device).map(|described| Geometry::check(&described));
        let Ok(Ok(geometry)) = described else {
            return;
        };
        self.gendisk.resize(geometry.sectors());
    }

    fn flush(&self, _device: &Device) {
        if let Some(vdisk) = &self.inner.lock().vdisk {
            vdisk.set_deadline();
        }
        self.gendisk.remove();
    }

    fn retire(&self, _device: &Device) -> Option<Retired> {
        let mut inner = self.inner.lock();
        let retired = Retired {
            _listeners: core::mem::take(&mut inner.listeners),
            _rings: core::mem::take(&mut inner.rings),
        };
        if let Some(vdisk) = &inner.vdisk {
            vdisk.retire();
        }
        Some(retired)
    }

    fn shut(&self, _device: &Device, retired: Retired) {
        let inner = self.inner.lock();
        drop(retired);
        if let Some(vdisk) = &inner.vdisk {
            vdisk.shut();
        }
    }

    fn end(&self, _device: &Device) {
        let vdisk = self.inner.lock().vdisk.take();
        self.gendisk.mark_dead();
        if let Some(vdisk) = &vdisk {
            vdisk.fail_all();
        }
        self.gendisk.remove();
        if let Some(vdisk) = &vdisk {
            vdisk.close();
        }
    }

    fn remove(&self, _device: &Device) {
        self.gendisk.stop();
    }
}
