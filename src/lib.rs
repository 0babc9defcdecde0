//! podgate: an OTLP gateway for Kubernetes nodes. The modules below are in reading order, the data path first.

pub mod core;

pub mod otlp;

pub mod wal;

pub mod config;

pub mod net;

pub mod kube;

#[cfg(feature = "kafka")]
pub mod kafka;

pub mod ottl;

pub mod telemetry;

pub mod change;

pub mod sending;

pub mod receivers;

pub mod processors;

pub mod exporters;

pub mod connectors;

pub mod extensions;

pub mod registry;

pub mod pipeline;

pub mod gateway;

pub mod lab;

pub mod cli;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
