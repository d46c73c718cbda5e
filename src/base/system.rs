//! Properties of this machine and this process, from the operating system.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};

/// The host name; `localhost` if there is none.
pub fn hostname() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// The MAC address of the first physical network interface by name:
/// `b8:27:eb:01:02:03`. All zeros if there is none.
pub fn mac_address() -> String {
    let mut interfaces: Vec<_> = fs::read_dir("/sys/class/net")
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    interfaces.sort();
    interfaces
        .iter()
        .filter(|path| path.join("device").exists())
        .chain(interfaces.iter())
        .filter_map(|path| fs::read_to_string(path.join("address")).ok())
        .map(|address| address.trim().to_owned())
        .find(|address| !address.is_empty() && *address != "00:00:00:00:00:00")
        .unwrap_or_else(|| "00:00:00:00:00:00".to_owned())
}

/// Used space of the file system of `path` in percent, 0 to 100.
pub fn disk_used_percent(path: &Path) -> f64 {
    let Ok(stat) = nix::sys::statvfs::statvfs(path) else { return 0.0 };
    let (all, free) = (stat.blocks() as f64, stat.blocks_available() as f64);
    if all > 0.0 { (100.0 * (all - free) / all).clamp(0.0, 100.0) } else { 0.0 }
}

/// Free bytes of the file system of `path` that this process may use.
///
/// # Errors
/// `path` does not exist or cannot be read.
pub fn disk_free(path: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    #[expect(clippy::useless_conversion, reason = "32 bits wide on some machines")]
    let (blocks, size) = (u64::from(stat.blocks_available()), u64::from(stat.fragment_size()));
    Ok(blocks.saturating_mul(size))
}

/// The CPU time of this process, user and system.
pub fn cpu_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let span = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or(0))
            + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or(0))
    };
    span(usage.user_time()) + span(usage.system_time())
}

/// Sets the niceness of the calling thread and of the threads that it starts
/// later.
///
/// # Errors
/// The system refuses: values below 0 need root.
pub fn set_priority(nice: i32) -> io::Result<()> {
    Ok(rustix::process::setpriority_process(None, nice)?)
}

/// Raises the limit of open files to the maximum: a viewer takes two, and
/// shells set 1024 by default.
///
/// # Errors
/// The system refuses; the limit stays as it is.
pub fn allow_open_files() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// The maximum number of files that this process may open.
pub fn max_open_files() -> usize {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard as usize)
}

/// Checks that files can be created in `folder` by creating and removing one: a
/// file system may refuse what the permissions allow.
///
/// # Errors
/// The reason why they cannot.
pub fn check_writable(folder: &Path) -> io::Result<()> {
    let file = folder.join(format!(".livebox-{}", random_token()?));
    fs::File::create_new(&file)?;
    fs::remove_file(&file)
}

/// The resident set of this process, in bytes.
pub fn memory() -> u64 {
    sum_in_status(["VmRSS:"])
}

/// The anonymous memory of this process, resident or swapped out, in bytes:
/// without files and shared memory.
pub fn own_memory() -> u64 {
    sum_in_status(["RssAnon:", "VmSwap:"])
}

fn sum_in_status<const N: usize>(names: [&str; N]) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    names.into_iter().filter_map(value).sum::<u64>() * 1024
}

/// 128 random bits in hexadecimal, for names that must not be guessed.
///
/// # Errors
/// The kernel's source of randomness cannot be read.
pub fn random_token() -> io::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Measures CPU load between readings.
#[derive(Debug)]
pub struct CpuMeter {
    measured_at: Instant,
    used: Duration,
    percent: f64,
}

/// Readings within this interval return the same value.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

impl CpuMeter {
    pub fn new(now: Instant, used: Duration) -> Self {
        Self { measured_at: now, used, percent: 0.0 }
    }

    /// Percent of one core since the last measurement, which is at least a
    /// second old; `used` is [`cpu_time`].
    pub fn percent(&mut self, now: Instant, used: Duration) -> f64 {
        let passed = now.duration_since(self.measured_at);
        if passed >= MIN_INTERVAL {
            let busy = used.saturating_sub(self.used).as_secs_f64();
            self.percent = 100.0 * busy / passed.as_secs_f64();
            (self.measured_at, self.used) = (now, used);
        }
        (self.percent * 10.0).round() / 10.0
    }
}

/// Sets the umask so that only the user and the group of this process can read
/// its new files. It applies to the whole process: for children with one task.
pub fn restrict_new_files() {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o027));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "tests choose their own start time")]
    fn load_is_a_share_of_one_core_and_constant_for_a_second() {
        let zero = Instant::now();
        let mut meter = CpuMeter::new(zero, Duration::from_secs(5));
        let two = zero + Duration::from_secs(2);
        assert_eq!(meter.percent(two, Duration::from_millis(5_500)), 25.0);
        assert_eq!(meter.percent(two, Duration::from_secs(9)), 25.0);
    }

    #[test]
    fn this_machine_has_a_name_a_disk_and_a_clock() {
        assert!(!hostname().is_empty());
        assert_eq!(mac_address().len(), 17);
        assert!((0.0..=100.0).contains(&disk_used_percent(Path::new("/"))));
        assert!(cpu_time() > Duration::ZERO);
    }

    #[test]
    fn written_memory_is_counted() {
        const LARGE: usize = 32 << 20;
        let before = own_memory();
        let large = std::hint::black_box(vec![1u8; LARGE]);
        let grown = own_memory().saturating_sub(before);
        assert!(grown > LARGE as u64 / 2 && memory() > own_memory(), "{grown} of {}", large.len());
    }
}
