//! The check of the token switched off.

use flumen_model::ids::JobId;

use super::{JOB, RestOptions, Told, job, options, served};

#[tokio::test]
async fn without_the_check_nobody_needs_a_token() {
    let server = &mut served(job(), RestOptions { authorization: false, ..options() }).await;
    for headers in ["", "Authorization: Bearer wrong\r\n"] {
        let answer = server.send("PATCH", &format!("/jobs/{JOB}"), headers, "").await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        assert_eq!(server.told.try_recv(), Ok(Told::Cancel(JobId(0xab))));
    }
}
