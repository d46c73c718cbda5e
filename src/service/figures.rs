//! Figures of the process and the machine: processor, memory, disk, addresses.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::base::disk::{CALL_TIMEOUT, Disk};
use crate::base::lock::Lock;
use crate::base::system::{self, CpuMeter};
use crate::base::time::{self, now};
use crate::model::status;

/// How often the disk of temporary files is measured.
const DISK_INTERVAL: Duration = Duration::from_secs(10);

/// The figures of this process and machine.
#[derive(Debug)]
pub struct Figures {
    /// Seconds since 1970, and on the runtime's clock.
    started: (u64, Instant),
    cpu: Lock<CpuMeter>,
    mac_address: String,
    /// How full the disk of temporary files is, in hundredths of a percent.
    disk_used: AtomicU64,
}

impl Figures {
    pub(super) fn new() -> Self {
        Self {
            started: (time::unix().as_secs(), now()),
            cpu: Lock::new(CpuMeter::new(now(), system::cpu_time())),
            mac_address: system::mac_address(),
            disk_used: AtomicU64::new(0),
        }
    }

    /// The MAC address of the first network interface; identifies the machine.
    pub fn mac_address(&self) -> &str {
        &self.mac_address
    }

    /// Percent of one core that this process used since the last call.
    pub fn cpu_percent(&self, now: Instant) -> f64 {
        let mut meter = self.cpu.lock();
        meter.percent(now, system::cpu_time())
    }

    /// How full the disk of temporary files was at the last measurement, in percent.
    pub fn disk_percent(&self) -> f64 {
        (self.disk_used.load(Ordering::Relaxed) as f64 / 100.0).round()
    }

    /// Measures the disk of temporary files, as long as it is polled.
    pub async fn watch_disk(&self) -> Infallible {
        let folder = std::env::temp_dir();
        let Ok(disk) = Disk::at(&folder) else { return std::future::pending().await };
        let mut ticks = tokio::time::interval(DISK_INTERVAL);
        loop {
            ticks.tick().await;
            let own = folder.clone();
            let used = disk.run(CALL_TIMEOUT, move || system::disk_used_percent(&own)).await;
            if let Ok(percent) = used {
                self.disk_used.store((percent * 100.0) as u64, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn status(&self, now: Instant) -> status::Service {
        status::Service {
            host: system::hostname(),
            version: env!("CARGO_PKG_VERSION"),
            started: self.started.0,
            now: time::unix().as_secs(),
            uptime: now.saturating_duration_since(self.started.1),
            cpu: system::cpu_time(),
            memory: system::memory(),
        }
    }
}
