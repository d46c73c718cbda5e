//! Foundations for every other folder: delays, units, secrets, time, locks, certificates, shutdown.
//!
//! Nothing here knows about video or the configuration.

pub mod authority;
pub mod backoff;
pub mod disk;
pub mod environment;
pub mod heap;
pub mod incident;
pub mod lock;
pub mod program;
pub mod queue;
pub mod schedule;
pub mod scrub;
pub mod secret;
pub mod shutdown;
pub mod slots;
pub mod sockets;
pub mod system;
pub mod time;
pub mod tls;
pub mod units;
