//! Where the ResourceManagers are, with and without high availability.

use super::{ConfError, Configuration};

/// An address of one ResourceManager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RmAddress {
    /// Its id from `yarn.resourcemanager.ha.rm-ids`; `None` without high availability.
    pub id: Option<String>,
    /// A base URL such as `http://rm1:8088`, or `host:port`.
    pub address: String,
}

/// A service of the ResourceManager.
struct Service {
    key: &'static str,
    port: u16,
}

const SCHEDULER: Service = Service { key: "yarn.resourcemanager.scheduler.address", port: 8030 };
const WEB: Service = Service { key: "yarn.resourcemanager.webapp.address", port: 8088 };
const WEB_TLS: Service = Service { key: "yarn.resourcemanager.webapp.https.address", port: 8090 };

impl Configuration {
    /// `fs.defaultFS`.
    ///
    /// # Errors
    /// [`ConfError::TooManySubstitutions`].
    pub fn default_fs(&self) -> Result<String, ConfError> {
        Ok(self.get("fs.defaultFS")?.unwrap_or_default())
    }

    /// Whether Kerberos is demanded (`hadoop.security.authentication` is not `simple`).
    ///
    /// # Errors
    /// [`ConfError::TooManySubstitutions`].
    pub fn is_secure(&self) -> Result<bool, ConfError> {
        Ok(self.get("hadoop.security.authentication")?.is_some_and(|how| !how.eq_ignore_ascii_case("simple")))
    }

    /// The ids of `yarn.resourcemanager.ha.rm-ids` when `yarn.resourcemanager.ha.enabled`, else none.
    ///
    /// # Errors
    /// [`ConfError::Missing`] when high availability is on and no ids are given; [`ConfError::BadValue`].
    pub fn rm_ids(&self) -> Result<Vec<String>, ConfError> {
        const IDS: &str = "yarn.resourcemanager.ha.rm-ids";
        if self.get_bool("yarn.resourcemanager.ha.enabled")? != Some(true) {
            return Ok(Vec::new());
        }
        match self.get_list(IDS)? {
            ids if ids.is_empty() => Err(ConfError::Missing {
                key: IDS.to_owned(),
                needed_for: "yarn.resourcemanager.ha.enabled is true, so it must name the ResourceManagers",
            }),
            ids => Ok(ids),
        }
    }

    /// The base URLs of the ResourceManagers' web services, `https` when `yarn.http.policy` is `HTTPS_ONLY`.
    ///
    /// # Errors
    /// [`ConfError::Missing`] when a ResourceManager has neither address nor host name; [`ConfError::BadValue`].
    pub fn resource_manager_web_addresses(&self) -> Result<Vec<RmAddress>, ConfError> {
        let tls = self.get("yarn.http.policy")?.is_some_and(|policy| policy == "HTTPS_ONLY");
        let (scheme, service) = if tls { ("https", WEB_TLS) } else { ("http", WEB) };
        let mut addresses = self.resource_managers(&service)?;
        for rm in &mut addresses {
            rm.address = format!("{scheme}://{}", rm.address);
        }
        Ok(addresses)
    }

    /// `host:port` of the schedulers, which ApplicationMasters talk to.
    ///
    /// # Errors
    /// As [`resource_manager_web_addresses`](Self::resource_manager_web_addresses).
    pub fn scheduler_addresses(&self) -> Result<Vec<RmAddress>, ConfError> {
        self.resource_managers(&SCHEDULER)
    }

    fn resource_managers(&self, service: &Service) -> Result<Vec<RmAddress>, ConfError> {
        let ids = self.rm_ids()?;
        if ids.is_empty() {
            let text = self.get(service.key)?.unwrap_or_default();
            return Ok(vec![RmAddress { id: None, address: with_port(service.key, &text, service.port)? }]);
        }
        ids.into_iter().map(|id| Ok(RmAddress { address: self.address_of(service, &id)?, id: Some(id) })).collect()
    }

    /// `<key>.<id>`, else `yarn.resourcemanager.hostname.<id>` with the default port.
    fn address_of(&self, service: &Service, id: &str) -> Result<String, ConfError> {
        let key = format!("{}.{id}", service.key);
        if let Some(text) = self.get(&key)? {
            return with_port(&key, &text, service.port);
        }
        let host_key = format!("yarn.resourcemanager.hostname.{id}");
        match self.get(&host_key)? {
            Some(host) => with_port(&host_key, &host, service.port),
            None => Err(ConfError::Missing {
                key: format!("{key} (or {host_key})"),
                needed_for: "yarn.resourcemanager.ha.rm-ids names this ResourceManager",
            }),
        }
    }
}

/// `host:port` from `host` or `host:port`. The wildcard address of a server's own configuration means this machine.
fn with_port(key: &str, text: &str, default: u16) -> Result<String, ConfError> {
    let bad = || ConfError::BadValue {
        key: key.to_owned(),
        value: text.to_owned(),
        wanted: "address such as rm.example.com:8088",
    };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().map_err(|_| bad())?),
        _ => (text, default),
    };
    if host.is_empty() || host.contains(['/', ' ', '$']) {
        return Err(bad());
    }
    let host = if host == "0.0.0.0" { "127.0.0.1" } else { host };
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(properties: &[(&str, &str)]) -> Configuration {
        let mut conf = Configuration::empty(|_| None);
        properties.iter().for_each(|(key, value)| conf.set(*key, *value));
        conf
    }

    fn texts(addresses: Result<Vec<RmAddress>, ConfError>) -> Vec<String> {
        addresses.unwrap().into_iter().map(|rm| format!("{}={}", rm.id.unwrap_or_default(), rm.address)).collect()
    }

    const HA: [(&str, &str); 2] =
        [("yarn.resourcemanager.ha.enabled", "true"), ("yarn.resourcemanager.ha.rm-ids", "rm1, rm2")];

    #[test]
    fn a_single_resource_manager_is_found_by_address_or_host_name() {
        type Properties = &'static [(&'static str, &'static str)];
        let cases: [(Properties, &str, &str); 4] = [
            (&[], "=http://127.0.0.1:8088", "=127.0.0.1:8030"),
            (&[("yarn.resourcemanager.hostname", "rm")], "=http://rm:8088", "=rm:8030"),
            (
                &[("yarn.resourcemanager.hostname", "rm"), ("yarn.resourcemanager.webapp.address", "web")],
                "=http://web:8088",
                "=rm:8030",
            ),
            (
                &[("yarn.http.policy", "HTTPS_ONLY"), ("yarn.resourcemanager.scheduler.address", "s:1")],
                "=https://127.0.0.1:8090",
                "=s:1",
            ),
        ];
        for (properties, web, scheduler) in cases {
            let conf = conf(properties);
            assert_eq!(texts(conf.resource_manager_web_addresses()), [web], "{properties:?}");
            assert_eq!(texts(conf.scheduler_addresses()), [scheduler], "{properties:?}");
        }
    }

    #[test]
    fn with_high_availability_every_id_has_its_address() {
        let mut properties = HA.to_vec();
        properties.push(("yarn.resourcemanager.webapp.address.rm1", "one:1"));
        properties.push(("yarn.resourcemanager.hostname.rm1", "host1"));
        properties.push(("yarn.resourcemanager.hostname.rm2", "host2"));
        properties.push(("yarn.resourcemanager.webapp.address", "ignored:1"));
        let conf = conf(&properties);
        assert_eq!(texts(conf.resource_manager_web_addresses()), ["rm1=http://one:1", "rm2=http://host2:8088"]);
        assert_eq!(texts(conf.scheduler_addresses()), ["rm1=host1:8030", "rm2=host2:8030"]);
    }

    #[test]
    fn an_id_without_address_and_a_broken_address_are_errors_naming_the_key() {
        let text = conf(&HA).scheduler_addresses().unwrap_err().to_string();
        assert!(text.contains("scheduler.address.rm1") && text.contains("hostname.rm1"), "{text}");
        let text = conf(&HA[..1]).rm_ids().unwrap_err().to_string();
        assert!(text.contains("rm-ids"), "{text}");
        for broken in ["rm:port", "rm:70000", ":1", "http://rm", "${rm.host}:8088"] {
            let error = conf(&[("yarn.resourcemanager.webapp.address", broken)]).resource_manager_web_addresses();
            assert!(error.unwrap_err().to_string().contains("webapp.address"), "{broken}");
        }
    }
}
