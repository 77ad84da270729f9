//! Runs a command in a network that ends in a mirror, so that its own connections come from far away.
//!
//! ```text
//! unshare --net mirror 80 node client-and-server.js
//!
//!   connect to 10.9.0.2:80 ──▶ 10.9.0.1 → 10.9.0.2 ──▶ the mirror waits for half a round trip
//!   accept from 10.9.0.2   ◀── 10.9.0.2 → 10.9.0.1 ◀── and gives the packet back, with its addresses exchanged
//! ```
//!
//! So whoever connects to 10.9.0.2 in there reaches this machine itself, through TCP's own code, but a round trip away, which the
//! loopback interface never is. It takes the privilege to make a network interface, and a network of one's own to make it in: see
//! `unshare(1)`. The exit code is that of the command.

#![expect(clippy::disallowed_methods, reason = "the machine must not read the clock; this is about nothing else")]

use std::env;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tun_rs::{DeviceBuilder, SyncDevice};

/// This side of the mirror. The other side has the next address.
const ADDRESS: &str = "10.9.0.1";
const PREFIX: u8 = 24;

/// No burst of a test is longer. What does not fit is lost, as it is in other networks.
const QUEUE: u32 = 10_000;

/// IPv4 has the two addresses next to each other (RFC 791, section 3.1). As their sum is the same, so is every checksum.
const SOURCE: usize = 12;
const DESTINATION: usize = 16;
const PAYLOAD: usize = 20;

const LARGEST_PACKET: usize = 65_536;

struct Packet {
    due: Instant,
    bytes: Vec<u8>,
}

fn main() -> ExitCode {
    let parameters: Vec<_> = env::args().skip(1).collect();
    let [round_trip, command, arguments @ ..] = parameters.as_slice() else {
        eprintln!("usage: mirror <round trip in milliseconds> <command> [<argument> ...]");
        return ExitCode::from(2);
    };
    let Ok(milliseconds) = round_trip.parse() else {
        eprintln!("mirror: {round_trip:?} is no number of milliseconds");
        return ExitCode::from(2);
    };
    match run(Duration::from_millis(milliseconds), command, arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mirror: {error}");
            ExitCode::from(125)
        }
    }
}

fn run(round_trip: Duration, command: &str, arguments: &[String]) -> std::io::Result<ExitCode> {
    let device = DeviceBuilder::new().ipv4(ADDRESS, PREFIX, None).tx_queue_len(QUEUE).build_sync()?;
    let device = Arc::new(device);
    let (seen, due) = channel();
    thread::spawn({
        let device = Arc::clone(&device);
        move || watch(&device, round_trip / 2, &seen)
    });
    thread::spawn(move || reflect(&device, &due));
    let status = Command::new(command).args(arguments).status()?;
    // One that a signal has ended has no code.
    Ok(status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(code.clamp(0, 255) as u8)))
}

fn watch(device: &SyncDevice, delay: Duration, seen: &Sender<Packet>) {
    let mut buffer = vec![0; LARGEST_PACKET];
    while let Ok(length) = device.recv(&mut buffer) {
        let due = Instant::now() + delay;
        if let Some(bytes) = mirrored(&buffer[..length])
            && seen.send(Packet { due, bytes }).is_err()
        {
            break;
        }
    }
}

/// They come in the order in which they are due.
fn reflect(device: &SyncDevice, due: &Receiver<Packet>) {
    for Packet { due, bytes } in due {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // A queue that is full loses packets, in other networks, too.
        let _ = device.send(&bytes);
    }
}

/// The same packet the other way round, if it is one of IPv4.
fn mirrored(packet: &[u8]) -> Option<Vec<u8>> {
    let is_version_4 = packet.first().is_some_and(|first| first >> 4 == 4);
    if !is_version_4 || packet.len() < PAYLOAD {
        return None;
    }
    let mut bytes = packet.to_vec();
    bytes[SOURCE..DESTINATION].copy_from_slice(&packet[DESTINATION..PAYLOAD]);
    bytes[DESTINATION..PAYLOAD].copy_from_slice(&packet[SOURCE..DESTINATION]);
    Some(bytes)
}
