//! Ports that nobody else uses.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

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

/// The ports of a cluster; `nodes[0]` is node 1.
#[derive(Debug, Clone)]
pub(super) struct Ports {
    pub(super) nn_rpc: u16,
    pub(super) nn_http: u16,
    pub(super) rm_client: u16,
    pub(super) rm_scheduler: u16,
    pub(super) rm_tracker: u16,
    pub(super) rm_admin: u16,
    pub(super) rm_http: u16,
    pub(super) nodes: Vec<NodePorts>,
}

impl Ports {
    /// Ports that were free a moment ago.
    pub(super) fn free(nodes: usize) -> Result<Ports> {
        let mut free = free_ports(7 + 7 * nodes)?.into_iter();
        let mut next = || free.next().expect("as many ports as were asked for");
        Ok(Ports {
            nn_rpc: next(),
            nn_http: next(),
            rm_client: next(),
            rm_scheduler: next(),
            rm_tracker: next(),
            rm_admin: next(),
            rm_http: next(),
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

/// `count` different free ports, chosen from a place that differs between processes.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let range = candidates();
    let width = usize::from(range.end - range.start);
    let offset = std::process::id() as usize * 101 % width;
    let mut held = Vec::with_capacity(count);
    for step in 0..width {
        let port = range.start + u16::try_from((offset + step) % width).expect("width is a u16");
        // Bound on all addresses: nodes live on 127.0.0.1, 127.0.0.2, … Held until all are found, so that all differ.
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
            held.push((port, listener));
        }
        if held.len() == count {
            return Ok(held.into_iter().map(|(port, _)| port).collect());
        }
    }
    bail!("only {} free ports between {} and {}, {count} are needed", held.len(), range.start, range.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_all_different() {
        let ports = free_ports(40).unwrap();
        let different: std::collections::BTreeSet<_> = ports.iter().collect();
        assert_eq!(different.len(), 40);
        for port in ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        }
    }
}
