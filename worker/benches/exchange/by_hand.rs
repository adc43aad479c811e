//! What a program without a framework does: the same records made, serialised, sent, received, made again and counted by
//! key, over one blocking TCP connection between two processes.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use flumen_worker::exchange::codec;

use crate::{FRAME, KEYS, Measured, Numbers, Record, child, key, line, nanos};

/// A frame is its length and that many bytes of records.
const PREFIX: usize = 4;

/// Sends so many records, at a rate or as fast as it can.
pub fn exchange(count: u64, rate: Option<f64>, text: usize) -> Numbers {
    let (mut child, mut output) = child("--receive-by-hand");
    let mut stream = TcpStream::connect(line(&mut output).trim()).unwrap();
    stream.set_nodelay(true).unwrap();
    let text = "x".repeat(text);
    let mut frame = vec![0; PREFIX];
    let begun = Instant::now();
    let mut made = 0;
    while made < count {
        let due = rate.map_or(count, |rate| ((begun.elapsed().as_secs_f64() * rate) as u64 + 1).min(count));
        while made < due {
            let record: Record = (key(made), nanos(), text.clone());
            codec::encode(&record, &mut frame).unwrap();
            made += 1;
            if frame.len() >= FRAME {
                send(&mut stream, &mut frame);
            }
        }
        send(&mut stream, &mut frame);
        if rate.is_some() {
            std::thread::park_timeout(Duration::from_micros(100));
        }
    }
    drop(stream);
    let numbers = Numbers::parse(&line(&mut output));
    child.wait().unwrap();
    numbers
}

fn send(stream: &mut TcpStream, frame: &mut Vec<u8>) {
    let length = frame.len() - PREFIX;
    if length > 0 {
        frame[..PREFIX].copy_from_slice(&(length as u32).to_le_bytes());
        stream.write_all(frame).unwrap();
        frame.truncate(PREFIX);
    }
}

/// The child.
pub fn receive() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    let (mut stream, _) = listener.accept().unwrap();
    let mut counts = HashMap::<u64, u64>::with_capacity(KEYS as usize);
    let mut measured = Measured::default();
    let mut buffer = vec![0; 4 * FRAME];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).unwrap();
        if read == 0 {
            break;
        }
        filled += read;
        let mut rest = &buffer[..filled];
        while let Some((prefix, after)) = rest.split_first_chunk::<PREFIX>() {
            let Some((mut records, next)) = after.split_at_checked(u32::from_le_bytes(*prefix) as usize) else { break };
            let now = measured.look();
            while !records.is_empty() {
                let (key, created, text): Record = codec::decode(&mut records).unwrap();
                *counts.entry(key).or_default() += 1;
                measured.record(now, created, &text);
            }
            rest = next;
        }
        let left = rest.len();
        buffer.copy_within(filled - left..filled, 0);
        filled = left;
    }
    measured.print();
}
