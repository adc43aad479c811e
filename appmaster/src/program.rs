//! The job of an application that was submitted as a program alone: asked of the program in the working directory.

use std::path::PathBuf;

use flumen_model::config::MemorySize;
use flumen_model::failure::{Blame, Failure};
use flumen_model::options::memory;
use flumen_model::text::with_causes;
use flumen_wire::application::{Application, JobSubmission, ProgramSubmission};
use flumen_wire::control::{PROTOCOL_VERSION, ProgramSetup};

/// What of its container the ApplicationMaster keeps for itself while it asks: several times what it uses. The rest is what
/// the program may use, so that YARN doesn't kill both.
const OWN_MEMORY: MemorySize = MemorySize::from_mib(64);

/// Asks the program for its graph. The job's configuration is the application's.
///
/// # Errors
/// Why it has none: blamed on the program when it says so itself.
pub fn planned(
    submission: ProgramSubmission,
    application: &Application,
) -> impl Future<Output = Result<JobSubmission, Failure>> + Send + use<> {
    let setup = ProgramSetup {
        protocol: PROTOCOL_VERSION,
        configuration: application.configuration.clone(),
        hadoop: application.hadoop.clone(),
        worker: None,
    };
    let ProgramSubmission { job, program, arguments } = submission;
    let process: Result<MemorySize, _> = application.configuration.get(&memory::JOBMANAGER_PROCESS);
    async move {
        let process = process.map_err(|error| Failure::new(Blame::Outside, error.to_string()))?;
        let memory = MemorySize(process.0.saturating_sub(OWN_MEMORY.0)).max(OWN_MEMORY);
        // Its name stands alone: a file of the working directory.
        let path = PathBuf::from(&program.name);
        tracing::info!(program = program.name, "the program is asked for its job");
        match flumen_program::plan_within(Some(memory), &path, &arguments, &setup).await {
            Ok(graph) => {
                let ProgramSetup { protocol, configuration, .. } = setup;
                let (client_heartbeat, accepted_ms) = (false, None);
                Ok(JobSubmission {
                    protocol,
                    job,
                    graph,
                    program,
                    arguments,
                    configuration,
                    client_heartbeat,
                    accepted_ms,
                })
            }
            Err(error) => Err(Failure::new(Blame::User, with_causes(&error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use flumen_model::ids::JobId;
    use flumen_wire::application::Program;

    use super::*;
    use crate::testing::application;

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let program = Program::localized("no-such-program");
        let submission = ProgramSubmission { job: JobId(1), program, arguments: vec![] };
        let failure = planned(submission, &application()).await.unwrap_err();
        assert!(failure.message.contains("no-such-program"), "{failure}");
    }
}
