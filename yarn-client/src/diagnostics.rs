//! What YARN says of an ApplicationMaster that died before it could speak for itself, made readable. Pure.

/// The longest text that is shown of what it printed.
const PRINTED_CHARS_MAX: usize = 4000;

/// The cause in YARN's words, or, where they hold what the ApplicationMaster's process printed at its end, that.
pub fn readable(diagnostics: &str) -> String {
    let diagnostics = diagnostics.trim();
    let Some(printed) = printed(diagnostics) else { return diagnostics.to_owned() };
    let code = after(diagnostics, "exitCode: ").map(|text| text.split_whitespace().next().unwrap_or_default());
    let ended = match code {
        Some(code) => format!("the JobManager's process ended with exit code {code}"),
        None => "the JobManager's process ended".to_owned(),
    };
    let page = after(diagnostics, "application tracking page: ").and_then(|text| text.split_whitespace().next());
    let logs = page.map(|page| format!("\nIts logs: {page}")).unwrap_or_default();
    let attempts = diagnostics.lines().next().and_then(|line| line.split(" due to ").next()).unwrap_or_default();
    format!("{ended}. The last that it printed:\n{printed}\nYARN: {attempts}.{logs}")
}

/// What the process printed on its standard error, or what the shell did that should have started it.
fn printed(diagnostics: &str) -> Option<String> {
    if !diagnostics.contains("AM Container for") {
        return None;
    }
    let section = |file: &str| -> Option<String> {
        let (before, rest) = diagnostics.split_once(&format!(" bytes of {file} :\n"))?;
        before.rsplit(' ').next()?.parse::<u32>().ok()?;
        // Up to YARN's next remark, which begins with a time or with one of these.
        let ends = ["\nLast ", "\n[2", "\nFor more detailed output", "\n. Failing the application"];
        let end = ends.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
        let text = rest[..end].trim();
        (!text.is_empty() && !text.starts_with("Last ")).then(|| text.chars().take(PRINTED_CHARS_MAX).collect())
    };
    section("stderr").or_else(|| section("prelaunch.err"))
}

fn after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.split_once(mark).map(|(_, after)| after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yarns(prelaunch: &str, stderr: &str) -> String {
        let container = format!(
            "[2026-11-21 15:00:00.000]Container exited with a non-zero exit code 1. Error file: prelaunch.err.\n\
             Last 4096 bytes of prelaunch.err :\n{prelaunch}Last 4096 bytes of stderr :\n{stderr}\n\n"
        );
        format!(
            "Application application_1_0001 failed 1 times (global limit =2; local limit is =1) due to AM Container for \
             appattempt_1_0001_000001 exited with  exitCode: 1\n\
             Failing this attempt.Diagnostics: [2026-11-21 15:00:00.000]Exception from container-launch.\n\
             Container id: container_1_0001_01_000001\nExit code: 1\n\n{container}{container}\
             For more detailed output, check the application tracking page: http://rm:8088/cluster/app/application_1_0001 \
             Then click on links to logs of each attempt.\n. Failing the application."
        )
    }

    #[test]
    fn what_the_process_printed_is_told_once_and_first() {
        let text = readable(&yarns("", "flumen-appmaster: no such file\nreally"));
        assert_eq!(
            text,
            "the JobManager's process ended with exit code 1. The last that it printed:\n\
             flumen-appmaster: no such file\nreally\n\
             YARN: Application application_1_0001 failed 1 times (global limit =2; local limit is =1).\n\
             Its logs: http://rm:8088/cluster/app/application_1_0001"
        );
    }

    #[test]
    fn what_the_shell_said_counts_when_the_process_said_nothing() {
        let text = readable(&yarns("bash: ./flumen-appmaster: cannot execute\n", ""));
        assert!(text.contains("printed:\nbash: ./flumen-appmaster: cannot execute\nYARN"), "{text}");
    }

    #[test]
    fn other_diagnostics_are_left_as_they_are() {
        for text in ["boom", "Application killed by user.", "", "Last 4096 bytes of stderr :\nmine", &yarns("", "")] {
            assert_eq!(readable(text), text.trim());
        }
    }
}
