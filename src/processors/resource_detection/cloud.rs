//! `ec2`, `gcp`, `azure` and `aks`: what the metadata service of a cloud says of the machine.
//!
//! One HTTP client per detector, to an address that only the machine itself can reach. A service that does not answer at
//! once is not there, which is a failure like any other: it is told once and asked for again.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use crate::net::client::Client;
use crate::net::client::compress::Compression;
use crate::net::client::http::HttpRequest;
use crate::net::client::settings::{ClientHttp, ClientSettings};
use crate::net::client::target::Target;
use crate::processors::resource_detection::outcome::{DetectorOutcome, text};

/// A service on the machine's own link answers within milliseconds; nothing else has the address.
const FIRST_ANSWER: Duration = Duration::from_secs(1);
/// The whole conversation; the detector's own timeout is mostly shorter.
const CONVERSATION: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    Ec2,
    Gcp,
    Azure,
    Aks,
}

pub struct CloudMetadata {
    pub cloud: Cloud,
    client: Client,
    /// The process runs in a cluster.
    on_kubernetes: bool,
}

impl std::fmt::Debug for CloudMetadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metadata").field("cloud", &self.cloud).finish_non_exhaustive()
    }
}

/// The address of all three services, which no router passes on.
pub const ADDRESS: &str = "http://169.254.169.254:80";

const PROVIDER: &str = "cloud.provider";
const PLATFORM: &str = "cloud.platform";
const ACCOUNT: &str = "cloud.account.id";
const REGION: &str = "cloud.region";
const ZONE: &str = "cloud.availability_zone";
const HOST_ID: &str = "host.id";
const HOST_NAME: &str = "host.name";
const HOST_TYPE: &str = "host.type";
const HOST_IMAGE: &str = "host.image.id";
const CLUSTER: &str = "k8s.cluster.name";

impl Cloud {
    pub const ALL: [Cloud; 4] = [Cloud::Ec2, Cloud::Gcp, Cloud::Azure, Cloud::Aks];

    pub fn name(self) -> &'static str {
        match self {
            Cloud::Ec2 => "ec2",
            Cloud::Gcp => "gcp",
            Cloud::Azure => "azure",
            Cloud::Aks => "aks",
        }
    }

    /// The attributes, and whether they are written unless the configuration says otherwise.
    pub fn attributes(self) -> &'static [(&'static str, bool)] {
        match self {
            Cloud::Ec2 => &[
                (PROVIDER, true),
                (PLATFORM, true),
                (REGION, true),
                (ACCOUNT, true),
                (ZONE, true),
                (HOST_ID, true),
                (HOST_IMAGE, true),
                (HOST_TYPE, true),
                (HOST_NAME, true),
            ],
            Cloud::Gcp => &[
                (PROVIDER, true),
                (PLATFORM, true),
                (ACCOUNT, true),
                (REGION, true),
                (ZONE, true),
                (CLUSTER, true),
                (HOST_ID, true),
                (HOST_NAME, true),
                (HOST_TYPE, true),
            ],
            Cloud::Azure => &[
                (PROVIDER, true),
                (PLATFORM, true),
                (REGION, true),
                (ACCOUNT, true),
                (HOST_NAME, true),
                (HOST_ID, true),
                ("azure.vm.name", true),
                ("azure.vm.size", true),
                ("azure.vm.scaleset.name", true),
                ("azure.resourcegroup.name", true),
            ],
            Cloud::Aks => &[(PROVIDER, true), (PLATFORM, true), (CLUSTER, false)],
        }
    }
}

/// `instance-identity/document` of EC2.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Identity {
    account_id: String,
    availability_zone: String,
    region: String,
    instance_id: String,
    image_id: String,
    instance_type: String,
}

/// `instance/compute` of Azure.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Compute {
    location: String,
    name: String,
    vm_id: String,
    vm_size: String,
    subscription_id: String,
    resource_group_name: String,
    vm_scale_set_name: String,
}

impl CloudMetadata {
    pub fn new(cloud: Cloud, target: Target, on_kubernetes: bool) -> CloudMetadata {
        let mut settings = ClientSettings::new(target, ClientHttp::ByAgreement);
        settings.connect_timeout = FIRST_ANSWER;
        CloudMetadata { cloud, client: Client::new(settings), on_kubernetes }
    }

    pub async fn detect(&self) -> DetectorOutcome {
        let answer = match self.cloud {
            Cloud::Ec2 => self.ec2().await,
            Cloud::Gcp => self.gcp().await,
            Cloud::Azure => self.azure().await,
            Cloud::Aks => self.aks().await,
        };
        match answer {
            // What a service leaves empty it does not know.
            Ok(pairs) => DetectorOutcome {
                found: pairs
                    .into_iter()
                    .filter(|(_, value)| !value.is_empty())
                    .map(|(key, value)| (key.to_owned(), text(&value)))
                    .collect(),
                failure: None,
            },
            Err(why) => DetectorOutcome::failed(why),
        }
    }

    /// Ends the connections.
    pub async fn close(&self) {
        self.client.close().await;
    }

    async fn ec2(&self) -> Result<Vec<(&'static str, String)>, String> {
        // Version 2 wants a token first; where it is switched off, version 1 answers without.
        let wish = header("x-aws-ec2-metadata-token-ttl-seconds", "300");
        let token = self.first(Method::PUT, "/latest/api/token", wish).await;
        let token = match token {
            Ok(token) => header("x-aws-ec2-metadata-token", &token),
            Err(Refusal::Status(_)) => HeaderMap::new(),
            Err(refusal) => return Err(refusal.into()),
        };
        let document = self.get("/latest/dynamic/instance-identity/document", token.clone()).await?;
        let identity: Identity = parse(&document)?;
        let host = self.get("/latest/meta-data/hostname", token).await?;
        Ok(vec![
            (PROVIDER, "aws".to_owned()),
            (PLATFORM, "aws_ec2".to_owned()),
            (REGION, identity.region),
            (ACCOUNT, identity.account_id),
            (ZONE, identity.availability_zone),
            (HOST_ID, identity.instance_id),
            (HOST_IMAGE, identity.image_id),
            (HOST_TYPE, identity.instance_type),
            (HOST_NAME, host),
        ])
    }

    async fn gcp(&self) -> Result<Vec<(&'static str, String)>, String> {
        let flavor = || header("metadata-flavor", "Google");
        let project = self.first(Method::GET, "/computeMetadata/v1/project/project-id", flavor()).await?;
        // A proxy's page under this address is no project.
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
        if project.is_empty() || !project.bytes().all(letters) {
            return Err("whatever answers is not a metadata server".to_owned());
        }
        let instance = |path: &'static str| async move {
            self.get(&format!("/computeMetadata/v1/instance/{path}"), flavor()).await
        };
        let mut pairs = vec![(PROVIDER, "gcp".to_owned()), (ACCOUNT, project), (HOST_ID, instance("id").await?)];
        let location = match self.on_kubernetes {
            true => instance("attributes/cluster-location").await.ok().filter(|location| !location.is_empty()),
            false => None,
        };
        if let Some(location) = location {
            pairs.push((PLATFORM, "gcp_kubernetes_engine".to_owned()));
            pairs.push((CLUSTER, instance("attributes/cluster-name").await?));
            // With workload identity the name is not told.
            pairs.push((HOST_NAME, instance("name").await.unwrap_or_default()));
            pairs.extend(zone_and_region(&location));
        } else {
            pairs.push((PLATFORM, "gcp_compute_engine".to_owned()));
            pairs.push((HOST_NAME, instance("name").await?));
            pairs.push((HOST_TYPE, last_segment(&instance("machine-type").await?)));
            pairs.extend(zone_and_region(&last_segment(&instance("zone").await?)));
        }
        Ok(pairs)
    }

    async fn compute(&self) -> Result<Compute, String> {
        let path = "/metadata/instance/compute?api-version=2020-09-01&format=json";
        let answer = self.first(Method::GET, path, header("metadata", "True")).await?;
        parse(&answer)
    }

    async fn azure(&self) -> Result<Vec<(&'static str, String)>, String> {
        let compute = self.compute().await?;
        Ok(vec![
            (PROVIDER, "azure".to_owned()),
            (PLATFORM, "azure_vm".to_owned()),
            (REGION, compute.location),
            (ACCOUNT, compute.subscription_id),
            (HOST_NAME, compute.name.clone()),
            (HOST_ID, compute.vm_id),
            ("azure.vm.name", compute.name),
            ("azure.vm.size", compute.vm_size),
            ("azure.vm.scaleset.name", compute.vm_scale_set_name),
            ("azure.resourcegroup.name", compute.resource_group_name),
        ])
    }

    async fn aks(&self) -> Result<Vec<(&'static str, String)>, String> {
        if !self.on_kubernetes {
            return Err("KUBERNETES_SERVICE_HOST is not set, so this is not a cluster".to_owned());
        }
        let group = self.compute().await?.resource_group_name;
        // The group of a cluster's nodes is MC_group_cluster_location, unless it was named otherwise.
        let parts: Vec<&str> = group.split('_').collect();
        let cluster = match parts[..] {
            [mc, _, cluster, _] if mc.eq_ignore_ascii_case("mc") => cluster.to_owned(),
            _ => group,
        };
        Ok(vec![(PROVIDER, "azure".to_owned()), (PLATFORM, "azure_aks".to_owned()), (CLUSTER, cluster)])
    }

    /// The first request: no answer at once means that no such service is there.
    async fn first(&self, method: Method, path: &str, headers: HeaderMap) -> Result<String, Refusal> {
        let answer = timeout(FIRST_ANSWER, self.ask(method, path, headers)).await;
        answer.unwrap_or_else(|_| {
            Err(Refusal::Silence(format!("no metadata service answers; not on {}?", self.cloud.name())))
        })
    }

    async fn get(&self, path: &str, headers: HeaderMap) -> Result<String, String> {
        Ok(self.ask(Method::GET, path, headers).await?)
    }

    async fn ask(&self, method: Method, path: &str, headers: HeaderMap) -> Result<String, Refusal> {
        let request = HttpRequest {
            method,
            path: path.to_owned(),
            content_type: "text/plain",
            headers,
            parts: Vec::new(),
            compression: Compression::None,
            deadline: Instant::now() + CONVERSATION,
        };
        let reply = self.client.http(request).await.map_err(|failure| Refusal::Silence(failure.to_string()))?;
        if reply.status != 200 {
            return Err(Refusal::Status(reply.status));
        }
        String::from_utf8(reply.body.to_vec())
            .map(|body| body.trim().to_owned())
            .map_err(|_| Refusal::Silence("the metadata service's answer is not text".to_owned()))
    }
}

/// Why there is no answer to use.
enum Refusal {
    Status(u16),
    Silence(String),
}

impl From<Refusal> for String {
    fn from(refusal: Refusal) -> String {
        match refusal {
            Refusal::Status(status) => format!("the metadata service answered {status}"),
            Refusal::Silence(why) => why,
        }
    }
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|why| format!("the metadata service's answer cannot be read: {why}"))
}

/// No header when the value has letters that a header cannot have.
fn header(name: &'static str, value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
    headers
}

/// `projects/1/zones/us-central1-c` -> `us-central1-c`
fn last_segment(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// `us-central1-c` is a zone of `us-central1`; `us-central1` is a region.
fn zone_and_region(location: &str) -> Vec<(&'static str, String)> {
    match location.rsplit_once('-') {
        Some((region, _)) if region.contains('-') => vec![(ZONE, location.to_owned()), (REGION, region.to_owned())],
        _ => vec![(REGION, location.to_owned())],
    }
}
