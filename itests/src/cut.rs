//! A way to a server on which one message gets lost, and the connection with it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};

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
