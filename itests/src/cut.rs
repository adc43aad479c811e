//! Ways to a server on which something gets lost: one message, and the connection with it ([`Relay`]); or all that one process
//! says and hears, while its connections stay open ([`Divide`]).

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};

/// What gets lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The so manieth message to the server, from 1.
    Request(usize),
    /// The so manieth message from the server, from 1: it has done what it was asked.
    Answer(usize),
}

/// A relay to one server for messages that begin with their length in four bytes. It ends with its process.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Relay {
    /// A relay to `server` that loses what is said, once.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(server: SocketAddr, lost: Lost) -> Result<Relay> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for a relay")?;
        let address = listener.local_addr()?;
        let (requests, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let relay = Relay { address, requests: Arc::clone(&requests) };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { continue };
                let (requests, answers) = (Arc::clone(&requests), Arc::clone(&answers));
                let request = if let Lost::Request(number) = lost { number } else { 0 };
                let answer = if let Lost::Answer(number) = lost { number } else { 0 };
                std::thread::spawn(move || pump(from_client, server, &requests, request));
                std::thread::spawn(move || pump(from_server, client, &answers, answer));
            }
        });
        Ok(relay)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Messages to the server so far, on all connections.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// Hands messages on until the connection ends, or the message with the number `lost` comes.
fn pump(mut from: TcpStream, mut to: TcpStream, count: &AtomicUsize, lost: usize) {
    let mut length = [0; 4];
    while from.read_exact(&mut length).is_ok() {
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        if from.read_exact(&mut message).is_err() || count.fetch_add(1, Ordering::Relaxed) + 1 == lost {
            break;
        }
        if to.write_all(&[&length, &message[..]].concat()).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        // Closed by the other side already.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// A relay to one server that can be closed to single processes, as a network is that loses everything: nobody is told, and no
/// connection closes. It ends with its process.
#[derive(Debug)]
pub struct Divide {
    address: SocketAddr,
    cut_off: Arc<Mutex<BTreeSet<u32>>>,
}

impl Divide {
    /// A relay to `server` that is open to everybody.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(server: SocketAddr) -> Result<Divide> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for a relay")?;
        let address = listener.local_addr()?;
        let cut_off = Arc::new(Mutex::new(BTreeSet::new()));
        let divide = Divide { address, cut_off: Arc::clone(&cut_off) };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (Ok(server), Ok(inode)) = (TcpStream::connect(server), socket_of_peer(&client)) else { continue };
                let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { continue };
                for (from, to) in [(from_client, server), (from_server, client)] {
                    let cut_off = Arc::clone(&cut_off);
                    std::thread::spawn(move || pass_on(from, to, inode, &cut_off));
                }
            }
        });
        Ok(divide)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing comes through from or to that process.
    pub fn cut_off(&self, pid: u32) {
        self.cut_off.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
    }
}

/// Hands bytes on until the connection ends, or for ever loses them once the client is cut off.
fn pass_on(mut from: TcpStream, mut to: TcpStream, inode: u64, cut_off: &Mutex<BTreeSet<u32>>) {
    let mut bytes = vec![0; 64 << 10];
    let mut lost = false;
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let pids = cut_off.lock().unwrap_or_else(PoisonError::into_inner).clone();
        lost = lost || pids.into_iter().any(|pid| has_socket(pid, inode));
        if !lost && to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    if !lost {
        for stream in [from, to] {
            // Closed by the other side already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// The kernel's number of the socket at the other end of a connection on this machine.
fn socket_of_peer(connection: &TcpStream) -> Result<u64> {
    let (SocketAddr::V4(peer), SocketAddr::V4(here)) = (connection.peer_addr()?, connection.local_addr()?) else {
        bail!("not IPv4")
    };
    let (peer, here) = (in_proc(peer), in_proc(here));
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let found = rows
        .filter(|row| row.get(1) == Some(&&*peer) && row.get(2) == Some(&&*here))
        .find_map(|row| row.get(9)?.parse().ok());
    found.with_context(|| format!("{peer} is not in /proc/net/tcp"))
}

/// An address as `/proc/net/tcp` writes it.
fn in_proc(address: SocketAddrV4) -> String {
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

/// Whether a process has that socket open.
fn has_socket(pid: u32, inode: u64) -> bool {
    let name = format!("socket:[{inode}]");
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|target| target == Path::new(&name))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_process_that_is_cut_off_is_heard_no_more_and_hears_nothing() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let divide = Divide::start(listener.local_addr().unwrap()).unwrap();
        let mut client = TcpStream::connect(divide.address()).unwrap();
        let mut server = listener.accept().unwrap().0;
        let mut byte = [0];
        client.write_all(b"a").unwrap();
        server.read_exact(&mut byte).unwrap();
        server.write_all(b"b").unwrap();
        client.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"b");

        divide.cut_off(1);
        client.write_all(b"c").unwrap();
        server.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"c", "another process is cut off");

        divide.cut_off(std::process::id());
        server.write_all(b"d").unwrap();
        client.write_all(b"e").unwrap();
        for stream in [&mut client, &mut server] {
            stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            let error = stream.read(&mut byte).unwrap_err();
            assert!(matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{error}");
        }
    }
}
