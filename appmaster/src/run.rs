//! The application's life: set up, register, run its jobs, tell YARN how it ended, leave nothing behind.

use std::time::Duration;

use anyhow::Context as _;
use flumen_hadoop::token::Credentials;
use flumen_hadoop::yarn::{AmOptions, ApplicationMasterClient, FinalStatus, RegistrationRequest};
use flumen_log::{Limits, Logging};
use flumen_model::options::{deployment, yarn};
use flumen_model::text::with_causes;
use flumen_wire::application::Application;
use tokio::signal::unix::{SignalKind, signal};

use crate::environment::Environment;
use crate::hadoop;
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

    let application = setup::application()?;
    let credentials = Credentials::from_file(&environment.token_file)?;
    let files = setup::files(&application)?;
    let staging = setup::staging(&application, &files)?;
    let claimed = Claimed::default();
    let admittance = Admittance {
        files: files.clone(),
        staging: application.staging.clone(),
        epoch: environment.epoch(),
        claimed: claimed.clone(),
    };

    let work = async {
        let token = credentials.am_rm_token().context("YARN gave no token for its ResourceManager")?.clone();
        let addresses = hadoop::scheduler_addresses(&hadoop::configuration(&application.hadoop))?;
        let client = ApplicationMasterClient::new(addresses, token, AmOptions::default())?;
        let parts = async {
            reconfigure(&logging, &application)?;
            Box::pin(setup::parts(&environment, &application, &credentials, &files)).await
        };
        match parts.await {
            Ok(parts) => {
                let main = Box::pin(MainLoop::begin(parts, &application, client, admittance)).await?;
                Box::pin(until_the_end(main, &staging)).await
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
            if may_be_tried_again(&environment, &application) {
                tracing::warn!("a further attempt may follow: staging directory and outputs are left to it");
                return Ok(());
            }
            staging.remove(STAGING_LIMIT_TERMINATED).await;
            claimed.abandon().await;
            Ok(())
        }
    }
}

/// Whether YARN may start another attempt after this one: a SIGTERM does not tell whether the application was killed or only
/// its node is going down.
fn may_be_tried_again(environment: &Environment, application: &Application) -> bool {
    // YARN may allow fewer; what is then left behind goes with the next submission of the user.
    application.configuration.get(&yarn::APPLICATION_ATTEMPTS).is_ok_and(|attempts| environment.attempt() < attempts)
}

/// Level and size of the log, as the application's configuration says.
fn reconfigure(logging: &Logging, application: &Application) -> Result<(), SetupError> {
    let conf = &application.configuration;
    let limits =
        Limits { file_size: conf.get(&deployment::LOG_FILE_SIZE)?.0, files: conf.get(&deployment::LOG_FILES)? };
    Ok(logging.reconfigure(&conf.get(&deployment::LOG_LEVEL)?, limits)?)
}

/// Runs the jobs to the application's end.
async fn until_the_end(mut main: MainLoop, staging: &Staging) -> anyhow::Result<()> {
    match main.run().await {
        End::Done { verdict, stop_first } => {
            if stop_first {
                // Workers must not write any more when the outputs are cleaned up.
                main.stop_executors("the job is over").await;
            }
            main.settle().await;
            main.finish(&verdict).await.context("YARN does not know how the application ended")?;
            staging.remove(STAGING_LIMIT).await;
            Ok(())
        }
        End::AttemptOver(reason) => {
            // A newer attempt may run already: outputs, staging directory and final status are its business.
            main.stop_executors("the application attempt is over").await;
            Err(anyhow::anyhow!("this application attempt is over: {reason}"))
        }
        End::Lost(error) => {
            main.stop_executors("the ResourceManager of YARN is lost").await;
            Err(anyhow::Error::new(error).context("the ResourceManager of YARN is lost"))
        }
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
