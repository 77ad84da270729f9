//! What the tests of several platforms begin with.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

/// A connection: the end of its client, and that of its server.
pub(super) fn pair(address: SocketAddr) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Any port that is free.
pub(super) fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
