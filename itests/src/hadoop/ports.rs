//! Ports that nobody else uses.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};

/// The ports of one node's daemons.
#[derive(Debug, Clone)]
pub(super) struct NodePorts {
    pub(super) dn_data: u16,
    pub(super) dn_http: u16,
    pub(super) dn_ipc: u16,
    pub(super) nm_rpc: u16,
    pub(super) nm_localizer: u16,
    pub(super) nm_http: u16,
    pub(super) nm_collector: u16,
}

/// The ports of a NameNode and a ResourceManager.
#[derive(Debug, Clone)]
pub(super) struct MasterPorts {
    pub(super) nn_rpc: u16,
    pub(super) nn_http: u16,
    pub(super) nn_failover: u16,
    pub(super) rm_client: u16,
    pub(super) rm_scheduler: u16,
    pub(super) rm_tracker: u16,
    pub(super) rm_admin: u16,
    pub(super) rm_http: u16,
}

/// The ports of a cluster; `nodes[0]` is node 1.
#[derive(Debug, Clone)]
pub(super) struct Ports {
    /// One of each, or two: then either is active, and the other on standby.
    pub(super) masters: Vec<MasterPorts>,
    pub(super) nodes: Vec<NodePorts>,
}

impl Ports {
    /// Ports that were free a moment ago, and that no other cluster of this process got.
    pub(super) fn free(masters: usize, nodes: usize) -> Result<Ports> {
        let mut free = free_ports(8 * masters + 7 * nodes)?.into_iter();
        let mut next = || free.next().expect("as many ports as were asked for");
        Ok(Ports {
            masters: (0..masters)
                .map(|_| MasterPorts {
                    nn_rpc: next(),
                    nn_http: next(),
                    nn_failover: next(),
                    rm_client: next(),
                    rm_scheduler: next(),
                    rm_tracker: next(),
                    rm_admin: next(),
                    rm_http: next(),
                })
                .collect(),
            nodes: (0..nodes)
                .map(|_| NodePorts {
                    dn_data: next(),
                    dn_http: next(),
                    dn_ipc: next(),
                    nm_rpc: next(),
                    nm_localizer: next(),
                    nm_http: next(),
                    nm_collector: next(),
                })
                .collect(),
        })
    }
}

/// Below the ephemeral range on purpose: a port of it could become the source port of any connection while its daemon
/// is down for a restart, and the restart would fail.
fn candidates() -> Range<u16> {
    let lowest_ephemeral = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768);
    if lowest_ephemeral > 14_000 { 10_000..lowest_ephemeral } else { 33_000..60_000 }
}

/// `count` ports that are free now and that this process never got before.
pub(super) fn free_ports(count: usize) -> Result<Vec<u16>> {
    static WALK: OnceLock<Walk> = OnceLock::new();
    // Starts at a place that differs between processes that run at the same time.
    WALK.get_or_init(|| Walk::new(candidates(), std::process::id() as usize * 101)).take(count)
}

/// Walks once around a range of ports. A port that was handed out is bound by its daemon only later; so whoever asks
/// next, on whatever thread, goes on behind it and doesn't look at it again.
struct Walk {
    range: Range<u16>,
    offset: usize,
    steps: AtomicUsize,
}

impl Walk {
    fn new(range: Range<u16>, offset: usize) -> Walk {
        Walk { range, offset, steps: AtomicUsize::new(0) }
    }

    /// The next port, free or not; none when the walk is over.
    fn next(&self) -> Option<u16> {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        let place = (self.offset + step) % self.range.len();
        (step < self.range.len()).then(|| self.range.start + u16::try_from(place).expect("within a range of u16"))
    }

    fn take(&self, count: usize) -> Result<Vec<u16>> {
        let mut found = Vec::with_capacity(count);
        while found.len() < count {
            let Some(port) = self.next() else {
                let Range { start, end } = self.range;
                bail!("{} ports between {start} and {end} are free and not taken yet, {count} are needed", found.len());
            };
            // Asked for on all addresses: nodes live on 127.0.0.1, 127.0.0.2, …
            if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
                found.push(port);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    // That a port is still free a moment later can't be asserted: other processes may take it.

    #[test]
    fn no_port_is_handed_out_twice_whichever_threads_ask() {
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(|| [free_ports(20), free_ports(20)])).collect();
        let answers = threads.into_iter().flat_map(|thread| thread.join().unwrap());
        let ports: Vec<u16> = answers.flat_map(Result::unwrap).collect();
        let different: BTreeSet<_> = ports.iter().copied().collect();
        assert_eq!((ports.len(), different.len()), (160, 160));
        assert!(ports.iter().all(|port| candidates().contains(port)), "{ports:?} are not all in {:?}", candidates());
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_left_out() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = listener.local_addr().unwrap().port();
        assert!(Walk::new(taken..taken + 1, 0).take(1).is_err());
    }

    #[test]
    fn a_walk_passes_each_port_once_and_ends() {
        let walk = Walk::new(10_000..10_005, 13);
        let passed: Vec<u16> = std::iter::from_fn(|| walk.next()).collect();
        assert_eq!(passed, [10_003, 10_004, 10_000, 10_001, 10_002]);
        assert!(walk.take(1).is_err());
    }
}
