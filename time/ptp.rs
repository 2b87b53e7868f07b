// SPDX-License-Identifier: GPL-2.0

//! `/dev/ptpN`: Xen's time of day, for programs that keep the kernel's close to it.

use crate::records::Records;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::time::ptp::{
    PtpClock,
    Source, //
};

/// Xen's time of day.
pub(crate) struct TimeOfDay(Arc<Records>);

impl Source for TimeOfDay {
    fn time(&self) -> Result<(i64, u32)> {
        let now = self.0.time_of_day().ok_or(EAGAIN)?;
        let seconds = i64::try_from(now.seconds).map_err(|_| ERANGE)?;
        Ok((seconds, now.nanoseconds))
    }
}

/// The device, until it is dropped.
pub(crate) type Device = Pin<KBox<PtpClock<TimeOfDay>>>;

/// Makes the device.
///
/// # Errors
///
/// As [`PtpClock::new`].
pub(crate) fn device(records: Arc<Records>) -> Result<Device> {
    PtpClock::new(c"oxen", TimeOfDay(records))
}
