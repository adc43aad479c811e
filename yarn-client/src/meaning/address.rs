//! Which JobManager is meant: the rules for `-m`, `-t`, `-yid` and their keys in the configuration. Pure.

use flumen_model::config::Configuration;
use flumen_model::options::{deployment, yarn};

use super::MeaningError;
use crate::args::Place;

/// Port of Flink's REST interface when none was set.
const REST_PORT: u16 = 8081;

/// A JobManager, as it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `host:port` of its REST interface.
    At(String),
    /// That of a YARN application.
    Application(String),
    /// That of the session in the properties file.
    Remembered,
    /// Not named at all: the remembered session, or whichever application of this user fits.
    Any,
}

/// Where a job runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// In the program's own process, here.
    Local,
    /// In a YARN application of its own, planned here.
    YarnPerJob,
    /// In a YARN application of its own, planned there.
    YarnApplication,
    /// In a session.
    Session(Address),
}

/// What `-m` says.
enum JobManager {
    YarnCluster,
    Local,
    At(String),
}

impl JobManager {
    fn read(text: &str) -> Result<Self, MeaningError> {
        match text {
            "yarn-cluster" => Ok(Self::YarnCluster),
            "local" => Ok(Self::Local),
            other => rest_address(other).map(Self::At).ok_or_else(|| MeaningError::BadAddress(other.to_owned())),
        }
    }
}

/// `host:port`; a scheme and a slash at the end do no harm.
fn rest_address(text: &str) -> Option<String> {
    let text = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let (host, port) = text.rsplit_once(':')?;
    let good = !host.is_empty() && !host.contains(['/', ' ', '@']) && port.parse::<u16>().is_ok_and(|port| port > 0);
    good.then(|| text.to_owned())
}

/// The application that flags or configuration name; the flag wins.
fn application(place: &Place, configuration: &Configuration) -> Result<Option<String>, MeaningError> {
    let Some(id) = place.application.clone().or(configuration.find(&yarn::APPLICATION_ID)?) else { return Ok(None) };
    let id = id.trim();
    let mut parts = id.split('_');
    let numbers = |part: Option<&str>| part.is_some_and(|part| part.parse::<u64>().is_ok());
    let good = parts.next() == Some("application") && numbers(parts.next()) && numbers(parts.next());
    if !good || parts.next().is_some() {
        return Err(MeaningError::BadApplication(id.to_owned()));
    }
    Ok(Some(id.to_owned()))
}

/// `rest.address` and `rest.port`, for the target `remote`.
fn remote(configuration: &Configuration) -> Result<Address, MeaningError> {
    let Some(host) = configuration.find(&deployment::REST_ADDRESS)? else { return Err(MeaningError::NoRestAddress) };
    let port = configuration.raw("rest.port").map_or_else(|| REST_PORT.to_string(), str::to_owned);
    let text = format!("{}:{}", host.trim(), port.trim());
    rest_address(&text).map(Address::At).ok_or(MeaningError::BadAddress(text))
}

fn contradiction(a: (&str, &str), b: (&str, &str)) -> MeaningError {
    MeaningError::Contradiction { one: format!("{} {}", a.0, a.1), other: format!("{} {}", b.0, b.1) }
}

/// Where `flink run` runs a job.
///
/// # Errors
/// [`MeaningError`]: unknown targets, malformed addresses, flags that contradict each other.
pub fn target(place: &Place, configuration: &Configuration) -> Result<Target, MeaningError> {
    let configured = configuration.find(&deployment::TARGET)?;
    let flag = place.target.as_deref().map(str::trim);
    let application = application(place, configuration)?;
    let in_session = || application.clone().map_or(Address::Remembered, Address::Application);
    let jobmanager = place.jobmanager.as_deref().map(JobManager::read).transpose()?;
    let (m, yid) = (place.jobmanager.as_deref().unwrap_or_default(), place.application.as_deref());
    let target = match (jobmanager, flag.or(configured.as_deref().map(str::trim))) {
        (Some(JobManager::At(address)), _) => match (flag, yid) {
            (Some(other), _) if other != "remote" => return Err(contradiction(("-m", m), ("-t", other))),
            (_, Some(id)) => return Err(contradiction(("-m", m), ("-yid", id))),
            _ => return Ok(Target::Session(Address::At(address))),
        },
        (Some(JobManager::Local), _) => match flag {
            Some(other) if other != "local" => return Err(contradiction(("-m", m), ("-t", other))),
            _ => Target::Local,
        },
        (Some(JobManager::YarnCluster), _) => match flag {
            // As in Flink: with the id of a session, yarn-cluster is that session.
            None if yid.is_some() => Target::Session(in_session()),
            None | Some("yarn-per-job") => Target::YarnPerJob,
            Some("yarn-session") => Target::Session(in_session()),
            Some(other) => return Err(contradiction(("-m", m), ("-t", other))),
        },
        (None, None) => Target::Session(in_session()),
        // A session that is named on the command line wins over the configured target.
        (None, Some(_)) if flag.is_none() && yid.is_some() => Target::Session(in_session()),
        (None, Some("local")) => Target::Local,
        (None, Some("remote")) => Target::Session(remote(configuration)?),
        (None, Some("yarn-session")) => Target::Session(in_session()),
        (None, Some("yarn-per-job")) => Target::YarnPerJob,
        (None, Some("yarn-application")) => Target::YarnApplication,
        (None, Some(other)) => return Err(MeaningError::UnknownTarget(other.to_owned())),
    };
    match (&target, yid) {
        (Target::Session(_), _) | (_, None) => Ok(target),
        (_, Some(id)) if flag.is_some() => Err(contradiction(("-t", flag.unwrap_or_default()), ("-yid", id))),
        (_, Some(id)) => Err(contradiction(("-m", m), ("-yid", id))),
    }
}

/// The JobManager that an action about running jobs means.
///
/// # Errors
/// [`MeaningError`]: unknown targets, malformed addresses, flags that contradict each other.
pub fn address(place: &Place, configuration: &Configuration) -> Result<Address, MeaningError> {
    let configured = configuration.find(&deployment::TARGET)?;
    let flag = place.target.as_deref().map(str::trim);
    let (m, yid) = (place.jobmanager.as_deref().unwrap_or_default(), place.application.as_deref());
    if let Some(JobManager::At(address)) = place.jobmanager.as_deref().map(JobManager::read).transpose()? {
        return match (flag, yid) {
            (Some(other), _) if other != "remote" => Err(contradiction(("-m", m), ("-t", other))),
            (_, Some(id)) => Err(contradiction(("-m", m), ("-yid", id))),
            _ => Ok(Address::At(address)),
        };
    }
    if m == "local" || flag == Some("local") {
        return Err(MeaningError::NothingLocal);
    }
    let application = application(place, configuration)?;
    let named = application.map(Address::Application);
    match flag.or(configured.as_deref().map(str::trim)) {
        None | Some("local" | "yarn-per-job" | "yarn-application") => Ok(named.unwrap_or(Address::Any)),
        Some("yarn-session") if flag.is_some() => Ok(named.unwrap_or(Address::Remembered)),
        Some("yarn-session") => Ok(named.unwrap_or(Address::Any)),
        Some("remote") => match named {
            Some(named) if yid.is_some() => Ok(named),
            _ => remote(configuration),
        },
        Some(other) => Err(MeaningError::UnknownTarget(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, parse};

    fn placed(line: &str, file: &str) -> (Place, Configuration) {
        let line = format!("run {line} x").replace("APP", "application_1_2");
        let Command::Run(typed) = parse(line.split_whitespace().map(Into::into)).unwrap() else { panic!() };
        let mut conf = Configuration::from_conf_text(&file.replace("; ", "\n")).unwrap();
        typed.options.place.properties.iter().for_each(|property| conf.set_property(property).unwrap());
        (typed.options.place, conf)
    }

    fn at(address: &str) -> Address {
        Address::At(address.into())
    }

    fn app() -> Address {
        Address::Application("application_1_2".into())
    }

    #[test]
    fn a_job_goes_where_flags_then_configuration_say_and_otherwise_to_the_remembered_session() {
        let session = Target::Session;
        for (line, file, expected) in [
            ("", "", session(Address::Remembered)),
            ("-t yarn-session", "", session(Address::Remembered)),
            ("", "execution.target: yarn-session", session(Address::Remembered)),
            ("-yid APP", "", session(app())),
            ("-m yarn-cluster -yid APP", "", session(app())),
            ("-yid APP", "execution.target: yarn-per-job", session(app())),
            ("-t yarn-session -Dyarn.application.id=APP", "", session(app())),
            ("", "yarn.application.id: application_1_2", session(app())),
            ("-yid APP", "yarn.application.id: application_7_7", session(app())),
            ("-m node:8081", "", session(at("node:8081"))),
            ("-m http://node:8081/", "execution.target: yarn-session", session(at("node:8081"))),
            ("-m node:1 -t remote", "", session(at("node:1"))),
            ("-m node:1", "yarn.application.id: application_1_2", session(at("node:1"))),
            ("-t remote", "rest.address: h", session(at("h:8081"))),
            ("-t remote -Drest.port=9", "rest.address: h", session(at("h:9"))),
            ("-m yarn-cluster", "execution.target: yarn-session", Target::YarnPerJob),
            ("-m yarn-cluster -t yarn-per-job", "", Target::YarnPerJob),
            ("-t yarn-per-job", "yarn.application.id: application_1_2", Target::YarnPerJob),
            ("-e yarn-per-job", "execution.target: local", Target::YarnPerJob),
            ("", "execution.target: yarn-per-job", Target::YarnPerJob),
            ("-t yarn-application", "", Target::YarnApplication),
            ("-t local", "", Target::Local),
            ("-m local", "execution.target: yarn-per-job", Target::Local),
            ("-D execution.target=local", "", Target::Local),
        ] {
            let (place, conf) = placed(line, file);
            assert_eq!(target(&place, &conf).unwrap(), expected, "{line} / {file}");
        }
    }

    #[test]
    fn an_action_goes_to_what_is_named_and_otherwise_looks_around() {
        for (line, file, expected) in [
            ("", "", Address::Any),
            ("-m yarn-cluster", "", Address::Any),
            ("-t yarn-per-job", "", Address::Any),
            ("", "execution.target: yarn-per-job", Address::Any),
            ("", "execution.target: local", Address::Any),
            ("-t yarn-session", "", Address::Remembered),
            ("", "execution.target: yarn-session", Address::Any),
            ("-yid APP", "", app()),
            ("-m yarn-cluster -yid APP", "", app()),
            ("-t yarn-session", "yarn.application.id: application_1_2", app()),
            ("-t yarn-application -Dyarn.application.id=APP", "", app()),
            ("-m node:8081", "execution.target: yarn-session", at("node:8081")),
            ("-t remote", "rest.address: h; rest.port: 4", at("h:4")),
            ("-yid APP", "execution.target: remote; rest.address: h", app()),
        ] {
            let (place, conf) = placed(line, file);
            assert_eq!(address(&place, &conf).unwrap(), expected, "{line} / {file}");
        }
    }

    #[test]
    fn what_is_malformed_or_contradicts_itself_is_refused_with_flag_and_value() {
        for (line, part) in [
            ("-m node", "-m,--jobmanager is `node`"),
            ("-m node:0", "host:port"),
            ("-m node:99999", "host:port"),
            ("-m :1", "host:port"),
            ("-t kubernetes-session", "`kubernetes-session`"),
            ("-yid application_1", "`application_1` is no id"),
            ("-yid job_1_2", "no id"),
            ("-t remote", "rest.address"),
            ("-m node:1 -t yarn-session", "`-m node:1` and `-t yarn-session` contradict"),
            ("-m node:1 -yid APP", "`-m node:1` and `-yid application_1_2` contradict"),
        ] {
            let (place, conf) = placed(line, "");
            for error in [target(&place, &conf).unwrap_err(), address(&place, &conf).unwrap_err()] {
                assert!(error.to_string().contains(part), "{line}: {error}");
            }
        }
        for (line, part) in [
            ("-m yarn-cluster -t local", "contradict"),
            ("-t yarn-per-job -yid APP", "`-t yarn-per-job` and `-yid application_1_2` contradict"),
            ("-m local -yid APP", "contradict"),
        ] {
            let (place, conf) = placed(line, "");
            let error = target(&place, &conf).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
        let (place, conf) = placed("-t local", "");
        assert!(matches!(address(&place, &conf), Err(MeaningError::NothingLocal)));
    }
}
