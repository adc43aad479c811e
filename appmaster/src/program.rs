//! The job of an application that was submitted as a program alone: asked of the program in the working directory.

use std::path::PathBuf;

use flumen_model::failure::{Blame, Failure};
use flumen_wire::application::{Application, JobSubmission, ProgramSubmission};
use flumen_wire::control::{PROTOCOL_VERSION, ProgramSetup};

use crate::text::with_causes;

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
    async move {
        // Its name stands alone: a file of the working directory.
        let path = PathBuf::from(&program.name);
        tracing::info!(program = program.name, "the program is asked for its job");
        match flumen_program::plan(&path, &arguments, &setup).await {
            Ok(graph) => {
                let ProgramSetup { protocol, configuration, .. } = setup;
                Ok(JobSubmission { protocol, job, graph, program, arguments, configuration, client_heartbeat: false })
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
