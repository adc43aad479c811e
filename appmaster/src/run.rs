//! The application's life: set up, register, run its jobs, tell YARN how it ended, leave nothing behind.

use std::time::Duration;

use anyhow::Context as _;
use flumen_ha::HaSettings;
use flumen_hadoop::rest::{AttemptReport, ResourceManagerClient, RmOptions};
use flumen_hadoop::token::Credentials;
use flumen_hadoop::yarn::{AmOptions, ApplicationMasterClient, FinalStatus, RegistrationRequest};
use flumen_log::{Limits, Logging};
use flumen_model::options::{deployment, yarn};
use flumen_model::text::with_causes;
use flumen_wire::application::Application;
use tokio::signal::unix::{SignalKind, signal};

use crate::environment::Environment;
use crate::hadoop;
use crate::high_availability::Lead;
use crate::job_files::{Admittance, Claimed};
use crate::main_loop::{End, MainLoop};
use crate::outputs::Staging;
use crate::setup::{self, SetupError};
use crate::text::shortened;

/// Name of the log file, Flink's.
const LOG_FILE: &str = "jobmanager.log";
/// Limit of removing the staging directory when there is time.
const STAGING_LIMIT: Duration = Duration::from_secs(30);
/// The same when a SIGKILL follows: YARN's default leaves 250 ms.
const STAGING_LIMIT_TERMINATED: Duration = Duration::from_millis(200);
/// Limit of asking how earlier attempts ended.
const HISTORY_LIMIT: Duration = Duration::from_secs(5);
/// Longest diagnostics of an application that could not begin.
const DIAGNOSTICS_CHARS_MAX: usize = 4000;

/// Runs the application that is described in the working directory to its end.
///
/// # Errors
/// When YARN could not be told how it ended: the process has to exit with a code other than 0.
pub async fn run() -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("SIGTERM can't be watched")?;
    let environment = Environment::read(|name| std::env::var(name).ok())?;
    let logging = flumen_log::init(&flumen_log::Options::for_container(LOG_FILE)).context("no log")?;
    let container = environment.container;
    tracing::info!(%container, host = environment.host, pid = std::process::id(), "ApplicationMaster starts");

    let mut application = setup::application()?;
    let attempts = attempts(&application);
    let credentials = Credentials::from_file(&environment.token_file)?;
    let files = setup::files(&application)?;
    let staging = setup::staging(&application, &files)?;
    let claimed = Claimed::default();

    let outputs = claimed.clone();
    let work = async {
        let token = credentials.am_rm_token().context("YARN gave no token for its ResourceManager")?.clone();
        let addresses = hadoop::scheduler_addresses(&hadoop::configuration(&application.hadoop))?;
        let client = ApplicationMasterClient::new(addresses, token, AmOptions::default())?;
        let parts = async {
            reconfigure(&logging, &application)?;
            // Before YARN hears of this attempt: from now on a former one can do no harm.
            let lead = Lead::win(&environment, &mut application, &files).await?;
            let parts =
                Box::pin(setup::parts(&environment, &application, &credentials, &files, &lead, environment.attempt()))
                    .await?;
            Ok((parts, lead))
        };
        match parts.await {
            Ok((parts, lead)) => {
                let staged = application.staging.clone();
                let admittance =
                    Admittance { files: files.clone(), staging: staged, lead: lead.clone(), claimed: outputs };
                let main = Box::pin(MainLoop::begin(parts, &application, client, admittance)).await?;
                let former = former_attempts(&environment, &application);
                Box::pin(until_the_end(main, &staging, &lead, former)).await
            }
            Err(SetupError::Lead(error)) if error.concerns_this_attempt_only() => {
                Err(anyhow::Error::new(error).context("this application attempt does not lead"))
            }
            Err(error) => Box::pin(refuse(&error, client, &staging)).await,
        }
    };
    // The connection to the file system has to stand when a SIGTERM leaves no time to make it.
    let work = async { tokio::join!(Box::pin(work), staging.warm_up()).0 };
    tokio::select! {
        result = work => {
            if let Err(error) = &result {
                tracing::error!(error = format!("{error:#}"), "the ApplicationMaster ends without YARN's consent");
            }
            result
        }
        _ = terminated.recv() => {
            tracing::warn!("told to stop (SIGTERM): the application was killed, or its node is going down");
            if environment.attempt() < attempts {
                tracing::warn!("a further attempt may follow: staging directory and outputs are left to it");
                return Ok(());
            }
            staging.remove(STAGING_LIMIT_TERMINATED).await;
            claimed.abandon().await;
            Ok(())
        }
    }
}

/// How many attempts YARN may start: a SIGTERM does not tell whether the application was killed or only its node is going
/// down, and before the last one everything has to stay for the next.
pub(crate) fn attempts(application: &Application) -> u32 {
    let keeps = HaSettings::read(&application.configuration, "").is_ok_and(|settings| settings.is_on());
    // YARN may allow fewer; what is then left behind goes with the next submission of the user.
    yarn::attempts(&application.configuration, keeps).unwrap_or(1)
}

/// Level and size of the log, as the application's configuration says.
pub(crate) fn reconfigure(logging: &Logging, application: &Application) -> Result<(), SetupError> {
    let conf = &application.configuration;
    let limits =
        Limits { file_size: conf.get(&deployment::LOG_FILE_SIZE)?.0, files: conf.get(&deployment::LOG_FILES)? };
    Ok(logging.reconfigure(&conf.get(&deployment::LOG_LEVEL)?, limits)?)
}

/// Runs the jobs to the application's end.
async fn until_the_end(
    mut main: MainLoop,
    staging: &Staging,
    lead: &Lead,
    former: impl Future<Output = Vec<AttemptReport>>,
) -> anyhow::Result<()> {
    match main.run().await {
        End::Done { verdict, stop_first } => {
            if stop_first {
                // Workers must not write any more when the outputs are cleaned up.
                main.stop_executors("the job is over").await;
            }
            main.settle().await;
            let verdict = verdict.after(&former.await);
            main.finish(&verdict).await.context("YARN does not know how the application ended")?;
            lead.clean_up().await;
            staging.remove(STAGING_LIMIT).await;
            Ok(())
        }
        End::AttemptOver(reason) => {
            // A newer attempt may run already: outputs, staging directory, final status and, if it takes them over,
            // TaskExecutors are its business.
            if !lead.is_on() {
                main.stop_executors("the application attempt is over").await;
            }
            Err(anyhow::anyhow!("this application attempt is over: {reason}"))
        }
        End::Lost(error) => {
            if !lead.is_on() {
                main.stop_executors("the ResourceManager of YARN is lost").await;
            }
            Err(anyhow::Error::new(error).context("the ResourceManager of YARN is lost"))
        }
    }
}

/// What YARN says of the attempts before this one; nothing when it does not answer.
async fn former_attempts(environment: &Environment, application: &Application) -> Vec<AttemptReport> {
    if environment.attempt() < 2 {
        return Vec::new();
    }
    let id = environment.container.attempt.application;
    let asked = async {
        let (hadoop, user) = (hadoop::configuration(&application.hadoop), application.user.clone());
        ResourceManagerClient::new(RmOptions::from_configuration(&hadoop, Some(user))?)?.attempts(id).await
    };
    match tokio::time::timeout(HISTORY_LIMIT, asked).await {
        Ok(Ok(attempts)) => attempts.into_iter().filter(|attempt| attempt.number < environment.attempt()).collect(),
        Ok(Err(error)) => {
            tracing::warn!(error = with_causes(&error), "YARN does not tell of the attempts before this one");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

/// Ends an application that can't begin.
async fn refuse(error: &SetupError, mut client: ApplicationMasterClient, staging: &Staging) -> anyhow::Result<()> {
    let text = shortened(&with_causes(error), DIAGNOSTICS_CHARS_MAX);
    tracing::error!(error = text, "the application can't begin");
    client.register(&RegistrationRequest::default()).await?;
    client.finish(FinalStatus::Failed, &text, "").await?;
    staging.remove(STAGING_LIMIT).await;
    Ok(())
}
