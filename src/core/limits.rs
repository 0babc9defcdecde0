//! Every limit that is not configuration, in one place, with its reason.

use std::time::Duration;

/// OTLP specification 1.11: recommended default for the size of a request, also after decompression.
pub const REQUEST_BYTES_MAX: u64 = 64 << 20;
/// OTLP specification 1.11: advised limit for a response.
pub const RESPONSE_BYTES_MAX: usize = 4 << 20;
/// Nesting of attribute values that is kept (OpenTelemetry specification, AttributeValueDepthLimit).
pub const DEPTH_MAX: usize = 64;
/// A ticket begins with the claimed length, but with no more than this.
pub const TICKET_START_BYTES: u64 = 256 << 10;
/// Work on so many bytes of protobuf leaves the worker threads. Reading a byte with all checks takes 2 to 20 ns whatever the
/// request is made of, so what stays is done within some milliseconds; a usual request (500 spans, 283 KB) stays, because
/// handing it to another thread and back would cost more than a twentieth of it.
pub const LONG_WORK_BYTES: u64 = 512 << 10;
/// Share of the cgroup limit that the budget takes when no memory_limiter says otherwise.
pub const BUDGET_SHARE_PERCENT: u64 = 75;
/// Budget where there is neither cgroup limit nor memory_limiter.
pub const BUDGET_DEFAULT_BYTES: u64 = 1 << 30;
/// From accept to shutdown's end; Kubernetes gives 30 s by default.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(20);
/// Wait for a port that another process holds, in a pod: the pod before has 30 s to end, and its node may be slow to let it.
/// Elsewhere a held port is a mistake that is told at once.
pub const PORT_WAIT_IN_A_POD: Duration = Duration::from_secs(120);
/// The longest wait that may be configured.
pub const PORT_WAIT_MAX: Duration = Duration::from_secs(600);
/// Distinct (service, pod) pairs whose first data is logged.
pub const FIRST_DATA_LINES_MAX: usize = 1_000;
/// Levels of nesting, aliases and bytes that configuration may expand to.
pub const CONFIG_DEPTH_MAX: usize = 64;
pub const CONFIG_NODES_MAX: usize = 200_000;
pub const CONFIG_BYTES_MAX: usize = 8 << 20;
