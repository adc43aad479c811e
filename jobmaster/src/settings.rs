//! What of the configuration concerns a JobMaster.

use std::time::Duration;

use flumen_model::config::{BadConfiguration, ConfigOption, Configuration};
use flumen_model::job_graph::JobGraph;
use flumen_model::options::{deployment, execution};

use crate::failover::RestartStrategy;

mod checkpoints;

pub use checkpoints::{CheckpointSettings, ClaimMode, Retention};

/// A JobMaster's options.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What happens after a failure.
    pub restarts: Restarts,
    /// Whether only the part of the job that exchanges records with the failed subtask is restarted.
    pub regional: bool,
    /// When and where checkpoints are taken.
    pub checkpoints: CheckpointSettings,
    /// How long the job waits for its slots before it fails.
    pub slot_request_timeout: Duration,
    /// How long workers may take from their start to [`Ready`](flumen_wire::control::FromWorker::Ready), and from a
    /// deployment to [`Deployed`](flumen_wire::control::FromWorker::Deployed).
    pub worker_start_timeout: Duration,
    /// How long subtasks may take to stop before their worker is killed.
    pub cancel_timeout: Duration,
}

/// Which failures are forgiven, and how often.
#[derive(Debug, Clone, PartialEq)]
pub enum Restarts {
    /// `restart-strategy.type` is set: the strategy applies to every failure.
    Every(RestartStrategy),
    /// It is not set: failures of the user's code and of Flumen itself end the job, all others fall under the strategy.
    ByBlame(RestartStrategy),
}

impl Restarts {
    /// The strategy under which forgivable failures fall.
    pub fn strategy(&self) -> &RestartStrategy {
        match self {
            Self::Every(strategy) | Self::ByBlame(strategy) => strategy,
        }
    }
}

impl Settings {
    /// Reads the options; what the program sets in its graph wins over the configuration.
    pub fn read(configuration: &Configuration, graph: &JobGraph) -> Result<Self, BadConfiguration> {
        let conf = graph.configuration(configuration);
        let checkpoints = CheckpointSettings::read(&conf, graph)?;
        Ok(Self {
            restarts: restarts(&conf, checkpoints.interval.is_some())?,
            regional: regional(&conf)?,
            checkpoints,
            slot_request_timeout: conf.get(&deployment::SLOT_REQUEST_TIMEOUT)?,
            worker_start_timeout: conf.get(&deployment::WORKER_START_TIMEOUT)?,
            cancel_timeout: conf.get(&execution::CANCEL_TIMEOUT)?,
        })
    }
}

fn regional(conf: &Configuration) -> Result<bool, BadConfiguration> {
    let name = conf.get(&execution::FAILOVER_STRATEGY)?;
    match name.to_ascii_lowercase().as_str() {
        "region" => Ok(true),
        "full" => Ok(false),
        _ => Err(BadConfiguration::Value {
            key: execution::FAILOVER_STRATEGY.key.to_owned(),
            value: name,
            expected: "a failover strategy: region or full".to_owned(),
        }),
    }
}

fn restarts(conf: &Configuration, with_checkpoints: bool) -> Result<Restarts, BadConfiguration> {
    let failure_rate = || {
        Ok(RestartStrategy::FailureRate {
            max_failures: conf.get(&execution::FAILURE_RATE_MAX)?,
            interval: conf.get(&execution::FAILURE_RATE_INTERVAL)?,
            delay: conf.get(&execution::FAILURE_RATE_DELAY)?,
        })
    };
    let exponential = || {
        let jitter = conf.get(&execution::EXPONENTIAL_JITTER)?;
        let multiplier = conf.get(&execution::EXPONENTIAL_MULTIPLIER)?;
        if !(0.0..=1.0).contains(&jitter) {
            return Err(out_of_range(&execution::EXPONENTIAL_JITTER, jitter, "a number from 0 to 1"));
        }
        if !(multiplier.is_finite() && multiplier >= 1.0) {
            return Err(out_of_range(&execution::EXPONENTIAL_MULTIPLIER, multiplier, "a number of at least 1"));
        }
        Ok(RestartStrategy::ExponentialDelay {
            initial: conf.get(&execution::EXPONENTIAL_INITIAL)?,
            max: conf.get(&execution::EXPONENTIAL_MAX)?,
            multiplier,
            reset: conf.get(&execution::EXPONENTIAL_RESET)?,
            jitter,
            attempts: conf.find(&execution::EXPONENTIAL_ATTEMPTS)?,
        })
    };
    let Some(name) = conf.find(&execution::RESTART_STRATEGY)? else {
        return Ok(match with_checkpoints {
            true => Restarts::Every(exponential()?),
            false => Restarts::ByBlame(failure_rate()?),
        });
    };
    // Flink's spellings.
    let strategy = match name.to_ascii_lowercase().as_str() {
        "none" | "off" | "disable" => RestartStrategy::None,
        "fixed-delay" | "fixeddelay" => RestartStrategy::FixedDelay {
            attempts: conf.get(&execution::FIXED_DELAY_ATTEMPTS)?,
            delay: conf.get(&execution::FIXED_DELAY_DELAY)?,
        },
        "failure-rate" | "failurerate" => failure_rate()?,
        "exponential-delay" | "exponentialdelay" => exponential()?,
        _ => {
            return Err(BadConfiguration::Value {
                key: execution::RESTART_STRATEGY.key.to_owned(),
                value: name,
                expected: "a restart strategy: none, fixed-delay, failure-rate or exponential-delay".to_owned(),
            });
        }
    };
    Ok(Restarts::Every(strategy))
}

fn out_of_range(option: &ConfigOption<f64>, value: f64, expected: &str) -> BadConfiguration {
    BadConfiguration::Value { key: option.key.to_owned(), value: value.to_string(), expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_model::job_graph::RuntimeMode;

    fn graph(properties: &[(&str, &str)]) -> JobGraph {
        JobGraph {
            name: "j".into(),
            mode: RuntimeMode::Streaming,
            vertices: vec![],
            edges: vec![],
            outputs: vec![],
            properties: properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }

    const DEFAULT_RATE: RestartStrategy = RestartStrategy::FailureRate {
        max_failures: 3,
        interval: Duration::from_secs(300),
        delay: Duration::from_secs(1),
    };

    const EXPONENTIAL: RestartStrategy = RestartStrategy::ExponentialDelay {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(60),
        multiplier: 1.5,
        reset: Duration::from_secs(3600),
        jitter: 0.1,
        attempts: None,
    };

    #[test]
    fn with_periodic_checkpoints_any_failure_restarts_the_job_unless_said_otherwise() {
        let read = |options: &[(&str, &str)]| Settings::read(&Configuration::new(), &graph(options)).unwrap().restarts;
        assert_eq!(read(&[("execution.checkpointing.interval", "1 s")]), Restarts::Every(EXPONENTIAL));
        let none = [("execution.checkpointing.interval", "1 s"), ("restart-strategy", "none")];
        assert_eq!(read(&none), Restarts::Every(RestartStrategy::None));
        assert_eq!(read(&[("execution.checkpointing.interval", "0")]), Restarts::ByBlame(DEFAULT_RATE));
    }

    #[test]
    fn numbers_without_sense_are_refused() {
        for (key, value) in [("jitter-factor", "1.5"), ("jitter-factor", "NaN"), ("backoff-multiplier", "0.9")] {
            let key = format!("restart-strategy.exponential-delay.{key}");
            let graph = graph(&[("restart-strategy.type", "exponential-delay"), (&key, value)]);
            let error = Settings::read(&Configuration::new(), &graph).unwrap_err().to_string();
            assert!(error.contains(&key), "{error}");
        }
    }

    #[test]
    fn the_strategy_is_read_under_all_of_flinks_spellings() {
        let once = RestartStrategy::FixedDelay { attempts: 1, delay: Duration::from_secs(1) };
        for (text, expected) in [
            ("none", RestartStrategy::None),
            ("off", RestartStrategy::None),
            ("Fixed-Delay", once.clone()),
            ("fixeddelay", once),
            ("failure-rate", DEFAULT_RATE),
            ("exponential-delay", EXPONENTIAL),
            ("exponentialdelay", EXPONENTIAL),
        ] {
            let mut conf = Configuration::new();
            conf.put(&execution::RESTART_STRATEGY, text);
            assert_eq!(Settings::read(&conf, &graph(&[])).unwrap().restarts, Restarts::Every(expected), "{text}");
        }
        let unset = Settings::read(&Configuration::new(), &graph(&[])).unwrap();
        assert_eq!(unset.restarts, Restarts::ByBlame(DEFAULT_RATE));
    }

    #[test]
    fn the_program_wins_over_the_configuration() {
        let mut conf = Configuration::new();
        conf.put(&execution::RESTART_STRATEGY, "none");
        let graph = graph(&[
            ("restart-strategy.type", "fixed-delay"),
            ("restart-strategy.fixed-delay.attempts", "7"),
            ("restart-strategy.fixed-delay.delay", "0"),
        ]);
        let expected = RestartStrategy::FixedDelay { attempts: 7, delay: Duration::ZERO };
        assert_eq!(Settings::read(&conf, &graph).unwrap().restarts, Restarts::Every(expected));
    }

    #[test]
    fn an_unknown_strategy_is_an_error_that_names_the_known_ones() {
        let mut conf = Configuration::new();
        conf.put(&execution::RESTART_STRATEGY, "sometimes");
        let error = Settings::read(&conf, &graph(&[])).unwrap_err().to_string();
        assert!(error.contains("sometimes") && error.contains("failure-rate or exponential-delay"), "{error}");
    }
}
