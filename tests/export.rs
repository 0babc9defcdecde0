//! The exporters against peers that behave, misbehave and go away: what arrives, what is retried, what is counted.
//!
//! Stock tonic servers are the oracle for what is sent; raw sockets do what no library lets a server do. Every test ends
//! with the balance.

#[path = "export/auth.rs"]
mod auth;
#[path = "export/balance.rs"]
mod balance;
#[path = "export/balance_k8s.rs"]
mod balance_k8s;
#[path = "export/cluster.rs"]
mod cluster;
#[path = "export/elastic.rs"]
mod elastic;
#[path = "export/elastic_blocked.rs"]
mod elastic_blocked;
#[path = "export/elastic_config.rs"]
mod elastic_config;
#[path = "export/elastic_ids.rs"]
mod elastic_ids;
#[path = "export/elastic_loss.rs"]
mod elastic_loss;
#[cfg(feature = "testing")]
#[path = "export/faults.rs"]
mod faults;
#[path = "export/grpc.rs"]
mod grpc;
#[path = "export/harness.rs"]
mod harness;
#[path = "export/http.rs"]
mod http;
#[path = "export/keys.rs"]
mod keys;
#[path = "export/oauth.rs"]
mod oauth;
#[path = "export/peers.rs"]
mod peers;
#[path = "export/presets.rs"]
mod presets;
#[path = "export/proxy.rs"]
mod proxy;
#[path = "export/tls.rs"]
mod tls;
