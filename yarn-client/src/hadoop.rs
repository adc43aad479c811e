//! Hadoop's configuration and file systems, as the client uses them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use flumen_fs::{FileSystem, FileSystems, FsOptions, FsPath};
use flumen_hadoop::conf::{ConfError, Configuration as HadoopConfiguration};
use flumen_model::config::Configuration;
use flumen_model::options::{deployment, execution, yarn};
use tokio::net::TcpStream;

/// Prefixes of Flink's keys that override Hadoop's: `flink.hadoop.<key>` for any, `flink.yarn.<key>` for `yarn.<key>`.
const OVERRIDES: [(&str, &str); 2] = [("flink.hadoop.", ""), ("flink.yarn.", "yarn.")];

/// Time for a connection that is made only to explain why there is no answer.
const CONNECTION_LIMIT: Duration = Duration::from_millis(500);

/// Reads Hadoop's files as the environment says, with the overrides of Flink's configuration over them.
///
/// # Errors
/// When there are no files, or one can't be read.
pub fn load(configuration: &Configuration) -> Result<HadoopConfiguration, ConfError> {
    HadoopConfiguration::load(|name| std::env::var(name).ok()).map(|hadoop| overridden(hadoop, configuration))
}

/// The same, but without files Hadoop's defaults hold: programs that use no HDFS need none.
///
/// # Errors
/// When a file can't be read.
pub fn load_if_any(configuration: &Configuration) -> Result<HadoopConfiguration, ConfError> {
    match load(configuration) {
        Err(ConfError::NoFiles { .. }) => {
            Ok(overridden(HadoopConfiguration::empty(|name| std::env::var(name).ok()), configuration))
        }
        other => other,
    }
}

/// Whether no configuration of Hadoop was found at all.
pub fn is_absent(configuration: &Configuration) -> bool {
    matches!(load(configuration), Err(ConfError::NoFiles { .. }))
}

fn overridden(mut hadoop: HadoopConfiguration, configuration: &Configuration) -> HadoopConfiguration {
    for (prefix, replacement) in OVERRIDES {
        for (key, value) in configuration.with_prefix(prefix) {
            hadoop.set(format!("{replacement}{key}"), value);
        }
    }
    hadoop
}

/// The file systems as the program sees them: paths without a scheme belong to `fs.default-scheme`.
///
/// # Errors
/// When an option is malformed.
pub fn program_file_systems(
    configuration: &Configuration,
    hadoop: &HadoopConfiguration,
    user: &str,
) -> anyhow::Result<FileSystems> {
    let default_scheme = configuration.find(&execution::DEFAULT_SCHEME)?;
    Ok(FileSystems::new(options(configuration, hadoop, user, default_scheme)?)?)
}

fn options(
    configuration: &Configuration,
    hadoop: &HadoopConfiguration,
    user: &str,
    default_scheme: Option<String>,
) -> anyhow::Result<FsOptions> {
    Ok(FsOptions {
        default_scheme,
        hadoop: Some(hadoop.expanded()),
        user: Some(user.to_owned()),
        call_timeout: configuration.get(&deployment::CLIENT_TIMEOUT)?,
        // A user waits: better a clear message soon than patience.
        retry_budget: configuration.get(&yarn::CONNECT_TIMEOUT)?,
        ..FsOptions::default()
    })
}

/// Where files are staged.
pub struct StagingPlace {
    /// The file system.
    pub fs: Arc<dyn FileSystem>,
    /// The directory of this user.
    pub base: FsPath,
}

/// Decides where files are staged: in the user's own directory below `yarn.staging-directory`, else in `.flink` in the
/// user's home directory on `fs.defaultFS`.
///
/// # Errors
/// When the default file system is this machine's, which containers can't be expected to see.
pub fn staging_place(
    configuration: &Configuration,
    hadoop: &HadoopConfiguration,
    user: &str,
) -> anyhow::Result<StagingPlace> {
    let default = hadoop.default_fs()?;
    let systems = FileSystems::new(options(configuration, hadoop, user, Some(default.clone()))?)
        .with_context(|| format!("fs.defaultFS of Hadoop's configuration is `{default}`"))?;
    if let Some(directory) = configuration.find(&yarn::STAGING_DIRECTORY)? {
        let base = systems.resolve(&directory)?.join(user);
        return Ok(StagingPlace { fs: systems.get(&base)?, base });
    }
    anyhow::ensure!(
        !default.starts_with("file:"),
        "fs.defaultFS of Hadoop's configuration is `{default}`, which containers on other machines do not see: set \
         HADOOP_CONF_DIR to the directory with the cluster's core-site.xml, or name a directory with \
         -D yarn.staging-directory="
    );
    let root: FsPath = default.parse()?;
    let fs = systems.get(&root.root())?;
    let base = fs.home_directory().join(".flink");
    Ok(StagingPlace { fs, base })
}

/// Looks whether the staging file system answers within `limit`.
///
/// # Errors
/// When it does not, or refuses the user.
pub async fn reachable(place: &StagingPlace, limit: Duration) -> anyhow::Result<()> {
    let root = place.base.root();
    let hint = || {
        format!(
            "file system {root} (fs.defaultFS of core-site.xml in HADOOP_CONF_DIR, or yarn.staging-directory) can't be used; is \
             the NameNode running there?"
        )
    };
    match tokio::time::timeout(limit, place.fs.exists(&place.base)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error).with_context(hint),
        Err(_) => Err(anyhow::anyhow!("no answer within {} s ({})", limit.as_secs_f32(), line(&root).await))
            .with_context(hint),
    }
}

/// What a bare connection to the NameNode of a path says, for messages: its client only repeats and waits.
async fn line(root: &FsPath) -> String {
    if !root.authority().contains(':') {
        return "a name service".to_owned();
    }
    match tokio::time::timeout(CONNECTION_LIMIT, TcpStream::connect(root.authority())).await {
        Ok(Ok(_)) => "a connection can be made".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no connection can be made".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(hadoop: &[(&str, &str)], flink: &str) -> anyhow::Result<String> {
        let mut conf = HadoopConfiguration::empty(|_| None);
        hadoop.iter().for_each(|(key, value)| conf.set(*key, *value));
        let configuration = Configuration::from_conf_text(flink)?;
        let conf = overridden(conf, &configuration);
        Ok(staging_place(&configuration, &conf, "alice")?.base.to_string())
    }

    #[test]
    fn files_are_staged_where_all_nodes_see_them() {
        let hdfs = [("fs.defaultFS", "hdfs://nn:9000")];
        assert_eq!(place(&hdfs, "").unwrap(), "hdfs://nn:9000/user/alice/.flink");
        assert_eq!(place(&hdfs, "yarn.staging-directory: /stage").unwrap(), "hdfs://nn:9000/stage/alice");
        assert_eq!(place(&[], "yarn.staging-directory: file:///stage").unwrap(), "file:///stage/alice");
        assert_eq!(place(&[], "flink.hadoop.fs.defaultFS: hdfs://nn:1").unwrap(), "hdfs://nn:1/user/alice/.flink");
        let error = place(&[], "").unwrap_err().to_string();
        assert!(error.contains("HADOOP_CONF_DIR") && error.contains("file:///"), "{error}");
    }

    #[test]
    fn flinks_prefixes_override_hadoops_keys() {
        let configuration = Configuration::from_conf_text("flink.hadoop.a.b: 1\nflink.yarn.x: 2").unwrap();
        let hadoop = overridden(HadoopConfiguration::empty(|_| None), &configuration);
        assert_eq!((hadoop.get_raw("a.b"), hadoop.get_raw("yarn.x")), (Some("1"), Some("2")));
    }
}
