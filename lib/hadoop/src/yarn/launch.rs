//! What a container is to run: files, environment, command, tokens.
//!
//! The NodeManager writes a shell script from it without escaping anything: environment values become
//! `export K="value"`, the command `exec /bin/bash -c "command"`. A `$` or a backtick would be evaluated, a quote would break
//! the script. So values with such characters are refused here, unless they are marked raw.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::messages::{
    ApplicationAclMapProto, ContainerLaunchContextProto, LocalResourceProto, StringLocalResourceMapProto,
    StringStringMapProto, UrlProto,
};
use crate::token::Credentials;

/// A launch context that would not do what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// A character in a value that the NodeManager's launch script would interpret.
    #[error(
        "environment variable {name} contains `{found}`, which the launch script would interpret; encode the value"
    )]
    LiveEnvironment {
        /// The variable.
        name: String,
        /// The character or sequence.
        found: String,
    },
    /// No name for a variable.
    #[error("`{name}` is no name for an environment variable")]
    EnvironmentName {
        /// The name.
        name: String,
    },
    /// YARN sets this variable itself, after those given.
    #[error("environment variable {name} is set by YARN itself and cannot be changed")]
    ReservedEnvironment {
        /// The variable.
        name: String,
    },
    /// A character in the command that bash would interpret.
    #[error("argument `{argument}` contains `{found}`, which the launch script would interpret; pass it in a file")]
    LiveArgument {
        /// The argument.
        argument: String,
        /// The character or sequence.
        found: String,
    },
    /// A name that would leave the container's working directory.
    #[error("`{key}` is no plain path inside the working directory for a local resource")]
    ResourceName {
        /// The name.
        key: String,
    },
    /// Text that is no URL.
    #[error("`{text}` is no URL of a local resource (scheme://host[:port]/path)")]
    Url {
        /// The text.
        text: String,
    },
    /// Nothing to run.
    #[error("no command given")]
    NoCommand,
}

/// Who shares a localized file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// All users of the node; the file must be readable by everybody.
    Public,
    /// All applications of the user.
    Private,
    /// This application.
    Application,
}

/// What the NodeManager does with a localized file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceKind {
    /// Links it into the working directory.
    File,
    /// Unpacks it and links the directory.
    Archive,
}

/// Where a local resource lies. The path is taken as it is: nothing is percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceUrl {
    /// As `hdfs`.
    pub scheme: String,
    /// Host, or the name service of an HDFS with two NameNodes.
    pub host: String,
    /// Port; `None` with a name service.
    pub port: Option<u16>,
    /// Absolute path.
    pub path: String,
}

impl FromStr for ResourceUrl {
    type Err = LaunchError;

    fn from_str(text: &str) -> Result<Self, LaunchError> {
        let parse = || {
            let (scheme, rest) = text.split_once("://")?;
            let slash = rest.find('/')?;
            let (authority, path) = rest.split_at(slash);
            let (host, port) = match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port.parse().ok()?)),
                None => (authority, None),
            };
            (!scheme.is_empty()).then(|| Self { scheme: scheme.into(), host: host.into(), port, path: path.into() })
        };
        parse().ok_or_else(|| LaunchError::Url { text: text.to_owned() })
    }
}

impl fmt::Display for ResourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

/// A file that the NodeManager fetches before the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalResource {
    /// Where it lies.
    pub url: ResourceUrl,
    /// Its length in bytes: must be equal to the file system's.
    pub size: u64,
    /// Its modification time in milliseconds since 1970: must be equal to the file system's.
    pub timestamp_ms: i64,
    /// File or archive.
    pub kind: ResourceKind,
    /// Who shares it.
    pub visibility: Visibility,
}

/// What a container is to run. Built step by step; each step refuses what the NodeManager would silently change.
///
/// ```
/// use flumen_hadoop::yarn::{LaunchContext, LocalResource, ResourceKind, Visibility};
///
/// # fn main() -> Result<(), flumen_hadoop::yarn::LaunchError> {
/// let context = LaunchContext::new()
///     .resource("worker", LocalResource {
///         url: "hdfs://namenode:8020/apps/worker".parse()?,
///         size: 1_048_576,
///         timestamp_ms: 1_795_228_684_344,
///         kind: ResourceKind::File,
///         visibility: Visibility::Application,
///     })?
///     .env("MASTER", "host:6123")?
///     .command(["./worker", "--slots", "2"])?;
/// # let _ = context;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LaunchContext {
    resources: BTreeMap<String, LocalResource>,
    environment: BTreeMap<String, String>,
    command: String,
    tokens: Option<Vec<u8>>,
    view_acl: Option<String>,
    modify_acl: Option<String>,
}

impl fmt::Debug for LaunchContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaunchContext")
            .field("resources", &self.resources)
            .field("environment", &self.environment.keys().collect::<Vec<_>>())
            .field("command", &self.command)
            .field("tokens", &self.tokens.as_ref().map(|_| "***"))
            .finish_non_exhaustive()
    }
}

/// Characters that stay alive between double quotes, and YARN's own place-holders. A NUL ends any C string.
const LIVE: [&str; 9] = ["\"", "$", "`", "\\", "\0", "{{", "}}", "<LOG_DIR>", "<CPS>"];
/// Set by the NodeManager after the given ones.
const RESERVED: [&str; 4] = ["USER", "HOME", "LOGNAME", "CONTAINER_ID"];

fn live(text: &str) -> Option<&'static str> {
    LIVE.into_iter().find(|sequence| text.contains(sequence))
}

fn check_name(name: &str) -> Result<(), LaunchError> {
    let good =
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.starts_with(|c: char| c.is_ascii_digit());
    if name.is_empty() || !good {
        return Err(LaunchError::EnvironmentName { name: name.to_owned() });
    }
    if RESERVED.contains(&name) {
        return Err(LaunchError::ReservedEnvironment { name: name.to_owned() });
    }
    Ok(())
}

/// One argument as bash reads it inside the outer double quotes: in single quotes unless it is plain.
fn quoted(argument: &str) -> Result<String, LaunchError> {
    if let Some(found) = live(argument).or(argument.contains('\'').then_some("'")) {
        return Err(LaunchError::LiveArgument { argument: argument.to_owned(), found: found.to_owned() });
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./=:,+@%".contains(&b);
    if !argument.is_empty() && argument.bytes().all(plain) {
        return Ok(argument.to_owned());
    }
    Ok(format!("'{argument}'"))
}

impl LaunchContext {
    /// Nothing to run yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file under the name, or relative path, that it shall have in the working directory.
    pub fn resource(mut self, key: impl Into<String>, resource: LocalResource) -> Result<Self, LaunchError> {
        let key = key.into();
        // A name may lie in a directory: the NodeManager makes it.
        let stays = key.split('/').all(|part| !matches!(part, "" | "." | ".."));
        // it stands between double quotes in the launch script, as values do
        if !stays || live(&key).is_some() {
            return Err(LaunchError::ResourceName { key });
        }
        self.resources.insert(key, resource);
        Ok(self)
    }

    /// Sets an environment variable to exactly this value.
    pub fn env(self, name: impl Into<String>, value: impl Into<String>) -> Result<Self, LaunchError> {
        let (name, value) = (name.into(), value.into());
        if let Some(found) = live(&value) {
            return Err(LaunchError::LiveEnvironment { name, found: found.to_owned() });
        }
        self.env_raw(name, value)
    }

    /// Sets an environment variable to text that the launch script shall evaluate: `$X`, `{{X}}`, `<LOG_DIR>`.
    ///
    /// `PATH` with a `$PATH` in it is refused: it would take bash's tools away from the launch script itself.
    pub fn env_raw(mut self, name: impl Into<String>, value: impl Into<String>) -> Result<Self, LaunchError> {
        let (name, value) = (name.into(), value.into());
        check_name(&name)?;
        if name == "PATH" && (value.contains("$PATH") || value.contains("${PATH") || value.contains("{{PATH")) {
            return Err(LaunchError::LiveEnvironment { name, found: "$PATH".to_owned() });
        }
        self.environment.insert(name, value);
        Ok(self)
    }

    /// Sets the command: program and arguments, passed on exactly. The program replaces the shell, so that signals reach
    /// it. Standard output and error go to `stdout` and `stderr` in the container's log directory.
    pub fn command<I, S>(self, arguments: I) -> Result<Self, LaunchError>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let words = arguments.into_iter().map(|a| quoted(a.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if words.is_empty() {
            return Err(LaunchError::NoCommand);
        }
        Ok(self.command_raw(format!("exec {} 1><LOG_DIR>/stdout 2><LOG_DIR>/stderr", words.join(" "))))
    }

    /// Sets the command to a line for bash, as it stands between the double quotes of the launch script.
    pub fn command_raw(mut self, line: impl Into<String>) -> Self {
        self.command = line.into();
        self
    }

    /// Sets the tokens that the container finds in its token file. Hand over [`Credentials::for_containers`]: a worker must
    /// not get the token for the ResourceManager.
    pub fn credentials(mut self, credentials: &Credentials) -> Self {
        self.tokens = Some(credentials.to_bytes());
        self
    }

    /// Sets who may see the container's logs and who may stop it, in Hadoop's form `user,user group,group`; `*` is all.
    pub fn acls(mut self, view: impl Into<String>, modify: impl Into<String>) -> Self {
        self.view_acl = Some(view.into());
        self.modify_acl = Some(modify.into());
        self
    }

    /// The message, or an error when there is no command.
    pub(crate) fn to_proto(&self) -> Result<ContainerLaunchContextProto, LaunchError> {
        if self.command.is_empty() {
            return Err(LaunchError::NoCommand);
        }
        let entry = |(key, value): (&String, &String)| StringStringMapProto {
            key: Some(key.clone()),
            value: Some(value.clone()),
        };
        let acl = |kind, acl: &Option<String>| {
            acl.clone().map(|acl| ApplicationAclMapProto { access_type: Some(kind), acl: Some(acl) })
        };
        Ok(ContainerLaunchContextProto {
            local_resources: self.resources.iter().map(resource_proto).collect(),
            tokens: self.tokens.clone(),
            environment: self.environment.iter().map(entry).collect(),
            command: vec![self.command.clone()],
            application_acls: acl(1, &self.view_acl).into_iter().chain(acl(2, &self.modify_acl)).collect(),
        })
    }
}

fn resource_proto((key, resource): (&String, &LocalResource)) -> StringLocalResourceMapProto {
    let url = &resource.url;
    let value = LocalResourceProto {
        resource: Some(UrlProto {
            scheme: Some(url.scheme.clone()),
            host: Some(url.host.clone()),
            // Java's "no port"; without the field it would read port 0
            port: Some(url.port.map_or(-1, i32::from)),
            file: Some(url.path.clone()),
        }),
        size: Some(i64::try_from(resource.size).unwrap_or(i64::MAX)),
        timestamp: Some(resource.timestamp_ms),
        kind: Some(match resource.kind {
            ResourceKind::Archive => 1,
            ResourceKind::File => 2,
        }),
        visibility: Some(match resource.visibility {
            Visibility::Public => 1,
            Visibility::Private => 2,
            Visibility::Application => 3,
        }),
    };
    StringLocalResourceMapProto { key: Some(key.clone()), value: Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_the_launch_script_would_change_are_refused() {
        for value in ["a\"b", "$HOME", "`date`", "a\\b", "{{X}}", "<LOG_DIR>/x", "a\0b"] {
            let error = LaunchContext::new().env("KEY", value).unwrap_err();
            assert!(matches!(&error, LaunchError::LiveEnvironment { name, .. } if name == "KEY"), "{value}: {error}");
        }
        for name in ["", "1A", "A-B", "A B", "A="] {
            assert_eq!(LaunchContext::new().env(name, "x"), Err(LaunchError::EnvironmentName { name: name.into() }));
        }
        for name in ["USER", "HOME", "LOGNAME", "CONTAINER_ID"] {
            assert_eq!(
                LaunchContext::new().env(name, "x"),
                Err(LaunchError::ReservedEnvironment { name: name.into() })
            );
        }
        assert!(LaunchContext::new().env_raw("PATH", "$PATH:/opt").is_err());
    }

    #[test]
    fn plain_and_raw_values_pass() {
        let context = LaunchContext::new().env("A", "it's (a) b=c; 日本\n<x>").unwrap().env_raw("B", "$PWD/x").unwrap();
        let proto = context.command(["x"]).unwrap().to_proto().unwrap();
        let pairs: Vec<_> = proto.environment.iter().map(|e| (e.key.as_deref(), e.value.as_deref())).collect();
        assert_eq!(pairs, [(Some("A"), Some("it's (a) b=c; 日本\n<x>")), (Some("B"), Some("$PWD/x"))]);
    }

    #[test]
    fn arguments_are_quoted_for_the_inner_shell() {
        let context =
            LaunchContext::new().command(["./worker", "--name", "two words; (x) & *", "", "a=1,b:2"]).unwrap();
        assert_eq!(
            context.to_proto().unwrap().command,
            ["exec ./worker --name 'two words; (x) & *' '' a=1,b:2 1><LOG_DIR>/stdout 2><LOG_DIR>/stderr"]
        );
        for bad in ["it's", "$X", "a\"", "`x`", "\\n", "{{X}}"] {
            assert!(matches!(LaunchContext::new().command(["x", bad]), Err(LaunchError::LiveArgument { .. })), "{bad}");
        }
        assert_eq!(LaunchContext::new().command(Vec::<String>::new()), Err(LaunchError::NoCommand));
        assert_eq!(LaunchContext::new().to_proto(), Err(LaunchError::NoCommand));
    }

    #[test]
    fn a_resource_without_port_says_minus_one_as_java_does() {
        for (text, host, port) in [
            ("hdfs://nn:8020/a b/c%20d", "nn", Some(8020)),
            ("hdfs://service1/x", "service1", None),
            ("file:///x", "", None),
        ] {
            let url: ResourceUrl = text.parse().unwrap();
            assert_eq!((url.host.as_str(), url.port), (host, port));
            assert_eq!(url.to_string(), text);
        }
        for bad in ["", "/x", "hdfs:/x", "hdfs://nn", "hdfs://nn:x/y", "hdfs://nn:99999/y", "://nn/x"] {
            assert_eq!(bad.parse::<ResourceUrl>(), Err(LaunchError::Url { text: bad.into() }));
        }
        let resource = LocalResource {
            url: "hdfs://service1/x".parse().unwrap(),
            size: 5,
            timestamp_ms: 6,
            kind: ResourceKind::Archive,
            visibility: Visibility::Public,
        };
        for key in ["", ".", "..", "a/../b", "/a", "a//b", "a/", "a$b", "a\"b"] {
            assert_eq!(
                LaunchContext::new().resource(key, resource.clone()),
                Err(LaunchError::ResourceName { key: key.into() })
            );
        }
        let context = LaunchContext::new().resource("x", resource).unwrap().command(["x"]).unwrap();
        let value = context.to_proto().unwrap().local_resources.remove(0).value.unwrap();
        assert_eq!((value.size, value.timestamp, value.kind, value.visibility), (Some(5), Some(6), Some(1), Some(1)));
        assert_eq!(value.resource.unwrap().port, Some(-1));
    }

    #[test]
    fn tokens_and_environment_values_are_not_printed() {
        let context = LaunchContext::new().env("K", "s3cret").unwrap().credentials(&Credentials::default());
        let printed = format!("{context:?}");
        assert!(printed.contains('K') && printed.contains("***") && !printed.contains("s3cret"), "{printed}");
    }
}
