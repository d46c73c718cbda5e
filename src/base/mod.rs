//! What every other folder may lean on: delays, units, secrets, time, the end of the process.
//!
//! Nothing here knows about video, files or the network.

pub mod backoff;
pub mod heap;
pub mod secret;
pub mod shutdown;
pub mod sockets;
pub mod system;
pub mod time;
pub mod units;
