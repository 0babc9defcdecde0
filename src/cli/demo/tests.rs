//! The demo itself as a test: short, and still through a restart.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn through_a_restart_with_a_late_status_no_container_id_is_wrong() {
    let args =
        Args { duration: Some(Duration::from_secs(10)), traces: 50, format: Format::Json, plain: true, svg: None };
    assert_eq!(play(&args).await, Ok(Exit::Ok));
}
