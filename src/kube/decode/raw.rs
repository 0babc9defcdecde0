//! The JSON shapes of what is read, borrowed from the input. Every field may be absent or `null`.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::text::Text;

/// `null` reads as the empty value: bookmarks carry `"containers": null`, statuses `"startedAt": null`.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawPod<'a> {
    #[serde(borrow, deserialize_with = "lenient")]
    pub metadata: RawMetadata<'a>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub spec: Spec<'a>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub status: RawPodStatus<'a>,
}

/// Any object, of which only the metadata matter.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawObject<'a> {
    #[serde(borrow, deserialize_with = "lenient")]
    pub metadata: RawMetadata<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RawMetadata<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub namespace: Text<'a>,
    #[serde(borrow)]
    pub uid: Text<'a>,
    #[serde(borrow)]
    pub resource_version: Text<'a>,
    #[serde(borrow)]
    pub creation_timestamp: Text<'a>,
    #[serde(borrow)]
    pub deletion_timestamp: Text<'a>,
    /// Read a second time, by the keys that are kept.
    #[serde(borrow)]
    pub labels: Option<&'a RawValue>,
    #[serde(borrow)]
    pub annotations: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub owner_references: Vec<OwnerReference<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct OwnerReference<'a> {
    #[serde(borrow)]
    pub api_version: Text<'a>,
    #[serde(borrow)]
    pub kind: Text<'a>,
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub uid: Text<'a>,
    #[serde(deserialize_with = "lenient")]
    pub controller: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec<'a> {
    #[serde(borrow)]
    pub node_name: Text<'a>,
    #[serde(borrow)]
    pub hostname: Text<'a>,
    #[serde(deserialize_with = "lenient")]
    pub host_network: bool,
    #[serde(borrow, deserialize_with = "lenient")]
    pub containers: Vec<RawContainer<'a>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub init_containers: Vec<RawContainer<'a>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub ephemeral_containers: Vec<RawContainer<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RawContainer<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub image: Text<'a>,
    #[serde(borrow)]
    pub restart_policy: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RawPodStatus<'a> {
    #[serde(borrow)]
    pub phase: Text<'a>,
    #[serde(borrow)]
    pub start_time: Text<'a>,
    #[serde(borrow, rename = "hostIP")]
    pub host_ip: Text<'a>,
    #[serde(borrow, rename = "hostIPs", deserialize_with = "lenient")]
    pub host_ips: Vec<PodIp<'a>>,
    #[serde(borrow, rename = "podIP")]
    pub pod_ip: Text<'a>,
    #[serde(borrow, rename = "podIPs", deserialize_with = "lenient")]
    pub pod_ips: Vec<PodIp<'a>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub container_statuses: Vec<RawContainerStatus<'a>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub init_container_statuses: Vec<RawContainerStatus<'a>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub ephemeral_container_statuses: Vec<RawContainerStatus<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PodIp<'a> {
    #[serde(borrow)]
    pub ip: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RawContainerStatus<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow, rename = "containerID")]
    pub container_id: Text<'a>,
    #[serde(deserialize_with = "lenient")]
    pub restart_count: i64,
    #[serde(borrow)]
    pub image: Text<'a>,
    #[serde(borrow, rename = "imageID")]
    pub image_id: Text<'a>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub state: State<'a>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub last_state: State<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct State<'a> {
    #[serde(borrow)]
    pub running: Option<RawRunning<'a>>,
    #[serde(borrow)]
    pub waiting: Option<RawWaiting<'a>>,
    #[serde(borrow)]
    pub terminated: Option<Terminated<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RawRunning<'a> {
    #[serde(borrow)]
    pub started_at: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawWaiting<'a> {
    #[serde(borrow)]
    pub reason: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Terminated<'a> {
    #[serde(deserialize_with = "lenient")]
    pub exit_code: i64,
    #[serde(borrow)]
    pub reason: Text<'a>,
    #[serde(borrow)]
    pub started_at: Text<'a>,
    #[serde(borrow)]
    pub finished_at: Text<'a>,
    #[serde(borrow, rename = "containerID")]
    pub container_id: Text<'a>,
}

/// metav1.Status.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawStatus<'a> {
    #[serde(borrow)]
    pub kind: Text<'a>,
    #[serde(deserialize_with = "lenient")]
    pub code: u16,
    #[serde(borrow)]
    pub reason: Text<'a>,
    #[serde(borrow)]
    pub message: Text<'a>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub details: Details<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Details<'a> {
    pub retry_after_seconds: Option<u64>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub causes: Vec<RawReason<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawReason<'a> {
    #[serde(borrow)]
    pub reason: Text<'a>,
}

/// What is left of a list when its items are taken out.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ListFrame<'a> {
    #[serde(borrow)]
    pub kind: Text<'a>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub metadata: ListMetadata<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ListMetadata<'a> {
    #[serde(borrow)]
    pub resource_version: Text<'a>,
    #[serde(borrow, rename = "continue")]
    pub rest: Text<'a>,
}

/// The least that can be rescued from an object whose rest cannot be read.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct VersionOnly<'a> {
    #[serde(borrow)]
    pub metadata: RawIdentity<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RawIdentity<'a> {
    #[serde(borrow)]
    pub uid: Text<'a>,
    #[serde(borrow)]
    pub resource_version: Text<'a>,
}
