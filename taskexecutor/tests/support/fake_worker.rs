//! This test executable, started by a TaskExecutor as a worker: it plays a script, which is the name of the job's graph.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flumen_model::failure::{Blame, Failure};
use flumen_wire::control::{FromWorker, ProgramSetup, ToWorker, WorkerAddress};
use flumen_wire::frame;

/// With these arguments the test executable is a worker.
pub const ARGUMENTS: [&str; 3] = ["--exact", "a_test_program_plays_the_worker", "--nocapture"];

/// Plays the worker; returns at once when this process is none.
pub fn play() {
    if std::env::var_os(flumen_wire::control::ROLE_VARIABLE).is_none() {
        return;
    }
    let mut socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let setup: ProgramSetup = frame::read_blocking(&mut socket).unwrap().unwrap();
    let worker = setup.worker.as_ref().unwrap();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "setup {}", serde_json::to_string(&setup).unwrap()).unwrap();
    for dir in worker.tmp_dirs.iter().chain(&worker.state_dirs) {
        std::fs::write(format!("{dir}/spilled"), "data").unwrap();
    }
    let script = worker.graph.name.as_str();
    let mut stderr = std::io::stderr();
    match script {
        "return" => std::process::exit(0),
        "silent" => {}
        "refuse" => {
            let refused = FromWorker::Refused(Failure::new(Blame::User, "another graph"));
            frame::write_blocking(&mut socket, &refused).unwrap();
            std::process::exit(1);
        }
        _ => frame::write_blocking(&mut socket, &ready()).unwrap(),
    }
    match script {
        "exit 3" => {
            for number in 0..2000 {
                writeln!(stderr, "line {number}").unwrap();
            }
            std::process::exit(3);
        }
        "abort" => {
            writeln!(stderr, "no hope").unwrap();
            std::process::abort();
        }
        "hog" => {
            let memory = vec![1u8; 200 << 20];
            wait_for_the_end(&mut socket);
            std::process::exit(i32::from(memory[memory.len() / 2]));
        }
        "garbage" => socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap(),
        "orphan" => {
            // Holds standard output and standard error open long after the worker has gone.
            std::process::Command::new("sleep").arg("5").spawn().unwrap();
            std::process::exit(4);
        }
        _ => {}
    }
    let mut heard = socket.try_clone().unwrap();
    let socket = Arc::new(Mutex::new(socket));
    if script != "hung" {
        let socket = Arc::clone(&socket);
        std::thread::spawn(move || {
            while frame::write_blocking(&mut *socket.lock().unwrap(), &FromWorker::Alive).is_ok() {
                std::thread::park_timeout(Duration::from_millis(200));
            }
        });
    }
    while let Ok(Some(message)) = frame::read_blocking::<ToWorker>(&mut heard) {
        if let ToWorker::Start { attempt, .. } = message {
            let deployed = FromWorker::Deployed { region: 0, attempt };
            frame::write_blocking(&mut *socket.lock().unwrap(), &deployed).unwrap();
        }
    }
    // The contract: without a TaskExecutor there is no worker.
    std::process::exit(0);
}

fn ready() -> FromWorker {
    let address = WorkerAddress { host: "127.0.0.1".into(), port: 1, socket: None };
    FromWorker::Ready { address, pid: std::process::id() }
}

fn wait_for_the_end(socket: &mut UnixStream) {
    let _ = socket.read_to_end(&mut Vec::new());
}
