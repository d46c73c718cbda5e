//! Connections from other addresses than the usual one: all of 127.0.0.0/8 is
//! this machine's.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

/// Connects to a port of 127.0.0.1 from the address `from`.
pub fn connect(from: Ipv4Addr, port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a file is left");
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("the address is this machine's");
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    socket.connect(&to.into()).expect("the port is listened to");
    socket.into()
}
