//! A new session: checked, staged, submitted, waited for until it can be used.

use std::time::Duration;

use flumen_ha::Owner;
use flumen_wire::application::Purpose;

use super::{Session, http};
use crate::attach::Waiting;
use crate::cluster::AppReport;
use crate::deploy::{Content, Deployment, Submitted};
use crate::interrupts::Interrupts;
use crate::leader::LeaderLookup;
use crate::meaning::SessionRun;
use crate::properties::{PropertiesFile, Remembered};
use crate::report::Reporter;
use crate::rest::Master;
use crate::submit;
use crate::sweep::Known;
use crate::timings::Timings;
use crate::verdict::{Stand, Verdict, stand};

/// Time between two looks at a session that is about to run.
const POLL: Duration = Duration::from_millis(50);

/// A session that can be used.
struct Started {
    submitted: Submitted,
    report: AppReport,
    master: Master,
}

/// Starts a session, and stays with it unless it is detached. Returns whether it ended well.
pub(super) async fn start(
    run: &SessionRun,
    reporter: &Reporter,
    timings: &Timings,
    interrupts: &mut Interrupts,
) -> anyhow::Result<bool> {
    let deployment = Deployment::new(&run.configuration, reporter, timings)?;
    let properties = PropertiesFile::of(&run.configuration, &deployment.user)?;
    let starting = Box::pin(started(run, &deployment));
    let Started { submitted, report, master } = deployment.unless_interrupted(interrupts, starting).await?;
    let leader = LeaderLookup::of(&run.configuration, &deployment.user, Owner::Session(&submitted.application));
    let session = Session {
        leader,
        application: submitted.application,
        configuration: &run.configuration,
        master,
        cluster: deployment.cluster.clone(),
        place: &deployment.place,
        properties,
        reporter,
        is_own: true,
    };
    session.remember(&run.dynamic_properties).await;
    session.show(&report);
    timings.reached("usable");
    if !run.attached {
        session.show_detached();
        return Ok(true);
    }
    session.attached(interrupts).await
}

async fn started(run: &SessionRun, deployment: &Deployment<'_>) -> anyhow::Result<Started> {
    let ((), prepared) = deployment.prepared(None, std::future::ready(Ok(()))).await?;
    let demand = submit::session_demand(&run.configuration)?;
    let content = Content { purpose: Purpose::Session, demand, name: submit::SESSION_NAME.to_owned() };
    let submitted = deployment.launch(prepared, content).await?;
    let sweeping = async {
        deployment.sweep().await;
        std::future::pending::<std::convert::Infallible>().await
    };
    let (report, master) = tokio::select! {
        usable = until_usable(run, deployment, &submitted) => usable?,
        never = sweeping => match never {},
    };
    Ok(Started { submitted, report, master })
}

/// Waits until the ApplicationMaster is registered and its REST interface answers.
async fn until_usable(
    run: &SessionRun,
    deployment: &Deployment<'_>,
    submitted: &Submitted,
) -> anyhow::Result<(AppReport, Master)> {
    let Submitted { application, token } = submitted;
    let (http, mut waiting) = (http(run)?, Waiting::begun());
    loop {
        match deployment.cluster.report(application).await {
            Ok(report) => match stand(&report) {
                Stand::Over(Verdict::Finished { .. }) => anyhow::bail!("session {application} ended at once"),
                Stand::Over(Verdict::Failed { cause } | Verdict::Canceled { cause }) => {
                    anyhow::bail!("session {application} has not come up: {cause}")
                }
                Stand::Waiting => {
                    deployment.timings.reached("accepted");
                    waiting.show(&report, deployment.reporter);
                }
                Stand::Running(address) => {
                    deployment.timings.reached("am_running");
                    let master = Master::new(http.clone(), &address, Some(token));
                    if master.ping().await.is_ok() {
                        return Ok((report, master));
                    }
                }
            },
            Err(error) => deployment.reporter.progress(&format!("Waiting for an answer: {error}")),
        }
        tokio::time::sleep(POLL).await;
    }
}

impl Session<'_> {
    /// Makes it the session that `flink run` submits to. A session before it runs on, and is named.
    async fn remember(&self, dynamic_properties: &[String]) {
        let path = self.properties.path().display();
        match self.properties.read() {
            Ok(Some(before)) if self.cluster.known(&before.application).await == Known::Active => {
                self.reporter.note(&format!(
                    "until now `{path}` named session {0}, which still runs: -yid {0} reaches it",
                    before.application
                ));
            }
            Ok(_) => {}
            Err(unusable) => self.reporter.note(&unusable.to_string()),
        }
        let remembered =
            Remembered { application: self.application.clone(), dynamic_properties: dynamic_properties.to_vec() };
        if let Err(error) = self.properties.write(&remembered) {
            self.reporter.note(&format!(
                "`{path}` can't be written ({error}): commands reach this session with -yid {}",
                self.application
            ));
        }
    }
}
