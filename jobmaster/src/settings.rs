//! What of the configuration concerns a JobMaster.

use std::time::Duration;

use flumen_model::config::{BadConfiguration, Configuration};
use flumen_model::job_graph::JobGraph;
use flumen_model::options::{deployment, execution};

use crate::failover::RestartStrategy;

/// A JobMaster's options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What happens after a failure.
    pub restarts: Restarts,
    /// How long the job waits for its slots before it fails.
    pub slot_request_timeout: Duration,
    /// How long workers may take from their start to [`Ready`](flumen_wire::control::FromWorker::Ready), and from a
    /// deployment to [`Deployed`](flumen_wire::control::FromWorker::Deployed).
    pub worker_start_timeout: Duration,
    /// How long subtasks may take to stop before their worker is killed.
    pub cancel_timeout: Duration,
}

/// Which failures are forgiven, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        let mut conf = configuration.clone();
        for (key, value) in &graph.properties {
            conf.set(key, value);
        }
        Ok(Self {
            restarts: restarts(&conf)?,
            slot_request_timeout: conf.get(&deployment::SLOT_REQUEST_TIMEOUT)?,
            worker_start_timeout: conf.get(&deployment::WORKER_START_TIMEOUT)?,
            cancel_timeout: conf.get(&execution::CANCEL_TIMEOUT)?,
        })
    }
}

fn restarts(conf: &Configuration) -> Result<Restarts, BadConfiguration> {
    let failure_rate = || {
        Ok(RestartStrategy::FailureRate {
            max_failures: conf.get(&execution::FAILURE_RATE_MAX)?,
            interval: conf.get(&execution::FAILURE_RATE_INTERVAL)?,
            delay: conf.get(&execution::FAILURE_RATE_DELAY)?,
        })
    };
    let Some(name) = conf.find(&execution::RESTART_STRATEGY)? else {
        return Ok(Restarts::ByBlame(failure_rate()?));
    };
    // Flink's spellings.
    let strategy = match name.to_ascii_lowercase().as_str() {
        "none" | "off" | "disable" => RestartStrategy::None,
        "fixed-delay" | "fixeddelay" => RestartStrategy::FixedDelay {
            attempts: conf.get(&execution::FIXED_DELAY_ATTEMPTS)?,
            delay: conf.get(&execution::FIXED_DELAY_DELAY)?,
        },
        "failure-rate" | "failurerate" => failure_rate()?,
        _ => {
            return Err(BadConfiguration::Value {
                key: execution::RESTART_STRATEGY.key.to_owned(),
                value: name,
                expected: "a restart strategy: none, fixed-delay or failure-rate".to_owned(),
            });
        }
    };
    Ok(Restarts::Every(strategy))
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

    #[test]
    fn the_strategy_is_read_under_all_of_flinks_spellings() {
        let once = RestartStrategy::FixedDelay { attempts: 1, delay: Duration::from_secs(1) };
        for (text, expected) in [
            ("none", RestartStrategy::None),
            ("off", RestartStrategy::None),
            ("Fixed-Delay", once.clone()),
            ("fixeddelay", once),
            ("failure-rate", DEFAULT_RATE),
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
        conf.put(&execution::RESTART_STRATEGY, "exponential-delay");
        let error = Settings::read(&conf, &graph(&[])).unwrap_err().to_string();
        assert!(error.contains("exponential-delay") && error.contains("fixed-delay or failure-rate"), "{error}");
    }
}
