//! A cut of the network by the kernel, for single ports: what comes for them, or from them, is lost. Nobody is told, and no connection
//! closes. Needs the command `nft` and the right to use it.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Ports that nothing comes through to or from until this is dropped.
#[derive(Debug)]
pub struct Cut {
    table: String,
}

/// Whether this machine has what a cut needs.
///
/// # Errors
/// Says what it lacks.
pub fn possible() -> Result<()> {
    drop(Cut::of("flumen_probe", &[1])?);
    Ok(())
}

impl Cut {
    /// Cuts these TCP ports off, on all addresses of this machine. Whole processes' ports are meant: the kernel gives none of them to
    /// anybody else meanwhile.
    ///
    /// # Errors
    /// When there is no `nft`, or this process may not use it.
    pub fn ports(ports: &[u16]) -> Result<Cut> {
        ensure!(!ports.is_empty(), "no port to cut off");
        let name: Vec<String> = ports.iter().map(u16::to_string).collect();
        Cut::of(&format!("flumen_cut_{}", name.join("_")), ports)
    }

    fn of(table: &str, ports: &[u16]) -> Result<Cut> {
        let set = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        // On the way in: what is dropped on its way out is an error to the sender.
        nft(&format!(
            "table inet {table} {{ chain cut {{ type filter hook input priority 0; policy accept; \
             tcp dport {{ {set} }} drop; tcp sport {{ {set} }} drop; }}; }}"
        ))?;
        Ok(Cut { table: table.to_owned() })
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // That it can't be removed would be seen by whoever needs these ports next.
        let _ = nft(&format!("delete table inet {}", self.table));
    }
}

fn nft(ruleset: &str) -> Result<()> {
    let output = Command::new("nft").arg(ruleset).output().context("starting nft (Debian's package nftables)")?;
    ensure!(output.status.success(), "nft failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// The TCP ports (IPv4) that a process listens on.
///
/// # Errors
/// When the kernel does not say.
pub fn listening(pid: u32) -> Result<Vec<u16>> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    let open: BTreeSet<String> =
        open.filter_map(|entry| Some(std::fs::read_link(entry.path()).ok()?.display().to_string())).collect();
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let own = rows.filter(|row| {
        // `st` 0A is TCP_LISTEN.
        row.get(3) == Some(&"0A") && row.get(9).is_some_and(|inode| open.contains(&format!("socket:[{inode}]")))
    });
    Ok(own.filter_map(|row| u16::from_str_radix(row.get(1)?.rsplit_once(':')?.1, 16).ok()).collect())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_sent_through_a_cut_arrives_when_it_is_mended() {
        if let Err(error) = possible() {
            return crate::say(&format!("not run, for the network can't be cut: {error:#}"));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listening(std::process::id()).unwrap().contains(&port));
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut server = listener.accept().unwrap().0;
        let mut byte = [0];
        let cut = Cut::ports(&[port]).unwrap();
        client.write_all(b"a").unwrap();
        server.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        server.read_exact(&mut byte).unwrap_err();
        drop(cut);
        server.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        server.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"a");
    }
}
