//! Which NameNode a path means, and which user asks.

use std::collections::BTreeMap;

use crate::{FsError, FsPath};

/// The port of a NameNode when a path names a host only.
const DEFAULT_PORT: u16 = 8020;

/// The URL to connect to for `path`: its own authority, else that of `fs.defaultFS`; a name service by its name, a
/// NameNode by `host:port`.
pub(super) fn connect_url(path: &FsPath, hadoop: &BTreeMap<String, String>) -> Result<String, FsError> {
    let authority = match path.authority() {
        "" => default_authority(path, hadoop)?,
        named => named.to_owned(),
    };
    let scheme = path.scheme();
    let single = hadoop.get(&format!("dfs.namenode.rpc-address.{authority}"));
    if scheme == "viewfs" || has_port(&authority) || hadoop.contains_key(&format!("dfs.ha.namenodes.{authority}")) {
        Ok(format!("{scheme}://{authority}"))
    } else if let Some(address) = single {
        Ok(format!("{scheme}://{address}"))
    } else {
        Ok(format!("{scheme}://{authority}:{DEFAULT_PORT}"))
    }
}

fn default_authority(path: &FsPath, hadoop: &BTreeMap<String, String>) -> Result<String, FsError> {
    let fail = |what: &str| FsError::BadConfiguration {
        path: path.to_string(),
        reason: format!("the path names no host and {what}: set it in core-site.xml or write a full path"),
    };
    let text = hadoop.get("fs.defaultFS").ok_or_else(|| fail("fs.defaultFS is not set"))?;
    match text.parse::<FsPath>() {
        Ok(default) if default.scheme() == path.scheme() && !default.authority().is_empty() => {
            Ok(default.authority().to_owned())
        }
        _ => Err(fail(&format!("fs.defaultFS is `{text}`"))),
    }
}

fn has_port(authority: &str) -> bool {
    // An IPv6 address in brackets has colons inside.
    authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// Whether the cluster demands Kerberos.
pub(super) fn is_secure(hadoop: &BTreeMap<String, String>) -> bool {
    hadoop.get("hadoop.security.authentication").is_some_and(|how| !how.eq_ignore_ascii_case("simple"))
}

/// The home directory of `user`, as Hadoop computes it.
pub(super) fn home_directory(user: &str, hadoop: &BTreeMap<String, String>) -> String {
    let prefix = hadoop.get("dfs.user.home.dir.prefix").map_or("/user", String::as_str);
    format!("{prefix}/{user}")
}

/// The user on a cluster without Kerberos: the given one, else `HADOOP_USER_NAME`, else the process's.
pub(super) fn user_name(given: Option<&str>) -> String {
    if let Some(user) = given {
        return user.to_owned();
    }
    if let Ok(user) = std::env::var("HADOOP_USER_NAME")
        && !user.is_empty()
    {
        return user;
    }
    let uid = rustix::process::geteuid().as_raw();
    let known = std::fs::read_to_string("/etc/passwd").ok().and_then(|table| name_in_passwd(&table, uid));
    known.or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| uid.to_string())
}

fn name_in_passwd(table: &str, uid: u32) -> Option<String> {
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_its_namenode_or_name_service() {
        let hadoop = [
            ("fs.defaultFS", "hdfs://prod"),
            ("dfs.ha.namenodes.prod", "nn1,nn2"),
            ("dfs.namenode.rpc-address.single", "nn.example.com:9000"),
        ];
        let hadoop: BTreeMap<String, String> = hadoop.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let cases = [
            ("hdfs://nn:9000/a", "hdfs://nn:9000"),
            ("hdfs://nn/a", "hdfs://nn:8020"),
            ("hdfs://[::1]/a", "hdfs://[::1]:8020"),
            ("hdfs://prod/a", "hdfs://prod"),
            ("hdfs://single/a", "hdfs://nn.example.com:9000"),
            ("hdfs:///a", "hdfs://prod"),
            ("viewfs://mount/a", "viewfs://mount"),
        ];
        for (path, expected) in cases {
            assert_eq!(connect_url(&path.parse().unwrap(), &hadoop).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn a_path_without_host_and_default_is_an_error_that_says_what_to_set() {
        let local = BTreeMap::from([("fs.defaultFS".to_owned(), "file:///".to_owned())]);
        for hadoop in [BTreeMap::new(), local] {
            let error = connect_url(&"hdfs:///a".parse().unwrap(), &hadoop).unwrap_err().to_string();
            assert!(error.contains("fs.defaultFS") && error.contains("core-site.xml"), "{error}");
        }
    }

    #[test]
    fn the_user_of_a_uid_comes_from_passwd() {
        let table = "root:x:0:0:root:/root:/bin/sh\nbroken line\nalice:x:1001:1001::/home/alice:/bin/sh\n";
        assert_eq!(name_in_passwd(table, 1001).as_deref(), Some("alice"));
        assert_eq!(name_in_passwd(table, 7), None);
    }
}
