//! What the black-box tests and the benchmarks share: the real binary and real
//! clients and servers around it, each ended by its own process id.
//!
//! Nothing here knows the inside of livebox, and a missing program is a
//! failure that names its Debian package, never a reason to skip.

pub mod browser;
pub mod clip;
pub mod firefox;
pub mod flv;
pub mod fmp4;
pub mod hanging;
pub mod hostile;
pub mod hostile_camera;
pub mod hosts;
pub mod http;
pub mod huge;
pub mod livebox;
pub mod mjpeg;
pub mod nginx;
pub mod ports;
pub mod probe;
pub mod proc;
pub mod process;
pub mod receiver;
pub mod relay;
pub mod rtsp;
pub mod sources;
pub mod tls;
pub mod tools;
pub mod viewer;
pub mod vlc;
pub mod wait;
