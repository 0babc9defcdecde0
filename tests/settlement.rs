//! Every item ends once, whatever pipelines are made of, and senders hear what is true: generated pipelines on paused time,
//! and the whole gateway between stock peers.

#[path = "settlement/gateway.rs"]
mod gateway;
#[path = "settlement/pipelines.rs"]
mod pipelines;
mod support;
