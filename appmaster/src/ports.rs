//! Ports as Flink's options name them: `8081`, `8081,8090`, `50100-50200`, `0` for any free one; and binding to them.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use flumen_model::config::BadConfiguration;

/// Ports in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports(Vec<RangeInclusive<u16>>);

/// Why no port could be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The name of the host leads nowhere.
    #[error("host `{host}` can't be resolved")]
    Resolve {
        /// The host.
        host: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// None of the ports is free, or the address is not of this machine.
    #[error("no port of {ports} could be bound on {address} for {purpose}: free one, or allow more of them")]
    Bind {
        /// What it is for.
        purpose: &'static str,
        /// The address.
        address: IpAddr,
        /// The ports.
        ports: Ports,
        /// What the last one said.
        #[source]
        cause: io::Error,
    },
}

impl Ports {
    /// Any free port.
    pub fn any() -> Self {
        Self(vec![0..=0])
    }

    /// Reads the value of the option `key`.
    ///
    /// # Errors
    /// [`BadConfiguration`] naming the key.
    pub fn parse(key: &str, text: &str) -> Result<Self, BadConfiguration> {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first <= last).then_some(first..=last)
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        ranges.map(Self).ok_or_else(|| BadConfiguration::Value {
            key: key.to_owned(),
            value: text.to_owned(),
            expected: "a port, or a list of ports and ranges such as `50100-50200,50300`".to_owned(),
        })
    }

    /// The ports, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().cloned().flatten()
    }

    /// Whether there is one port and no other.
    pub fn is_single(&self) -> bool {
        let mut ports = self.iter();
        ports.next().is_some_and(|port| port != 0) && ports.next().is_none()
    }

    /// Tries `bind` with one port after the other.
    ///
    /// # Errors
    /// [`BindError::Bind`] with what the last one said.
    pub async fn bind<T>(
        &self,
        purpose: &'static str,
        address: IpAddr,
        mut bind: impl AsyncFnMut(SocketAddr) -> io::Result<T>,
    ) -> Result<T, BindError> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for port in self.iter() {
            match bind(SocketAddr::new(address, port)).await {
                Ok(bound) => return Ok(bound),
                Err(error) => last = error,
            }
        }
        Err(BindError::Bind { purpose, address, ports: self.clone(), cause: last })
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let separator = if index > 0 { "," } else { "" };
            match range.start() == range.end() {
                true => write!(f, "{separator}{}", range.start())?,
                false => write!(f, "{separator}{}-{}", range.start(), range.end())?,
            }
        }
        Ok(())
    }
}

/// The address of a host to listen at. Of several the first of version 4: what Java clients and YARN's proxy try.
///
/// # Errors
/// [`BindError::Resolve`].
pub async fn address_of(host: &str) -> Result<IpAddr, BindError> {
    let failed = |cause| BindError::Resolve { host: host.to_owned(), cause };
    let found: Vec<IpAddr> = tokio::net::lookup_host((host, 0)).await.map_err(failed)?.map(|a| a.ip()).collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ports_are_single_lists_or_ranges() {
        for (text, expected) in [
            ("0", vec![0]),
            ("8081", vec![8081]),
            ("8081, 8090", vec![8081, 8090]),
            ("10-12,9", vec![10, 11, 12, 9]),
            ("65535-65535", vec![65535]),
        ] {
            assert_eq!(Ports::parse("k", text).unwrap().iter().collect::<Vec<_>>(), expected, "{text}");
        }
        for text in ["", "x", "70000", "12-10", "1-", "1,,2", "-1"] {
            let error = Ports::parse("rest.bind-port", text).unwrap_err().to_string();
            assert!(error.contains("rest.bind-port"), "{error}");
        }
        assert_eq!(Ports::parse("k", "10-12, 9").unwrap().to_string(), "10-12,9");
    }

    #[tokio::test]
    async fn the_first_free_port_is_taken() {
        let address = IpAddr::from([127, 0, 0, 1]);
        let taken = tokio::net::TcpListener::bind((address, 0)).await.unwrap();
        let busy = taken.local_addr().unwrap().port();
        let listen = async |address| tokio::net::TcpListener::bind(address).await;
        let ports = Ports::parse("k", &format!("{busy},0")).unwrap();
        assert_ne!(ports.bind("a test", address, listen).await.unwrap().local_addr().unwrap().port(), busy);
        let error = Ports::parse("k", &busy.to_string()).unwrap().bind("a test", address, listen).await.unwrap_err();
        assert!(error.to_string().contains(&busy.to_string()), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[0-9,\\- ]{0,20}|\\PC*") {
            let _ = Ports::parse("k", &text);
        }
    }
}
