//! The processors that change what passes through: from their YAML to what comes out at the end.

#[path = "shape/actions.rs"]
mod actions;
#[path = "shape/attributes.rs"]
mod attributes;
#[path = "shape/detection.rs"]
mod detection;
#[path = "shape/hostile.rs"]
mod hostile;
#[path = "shape/resource.rs"]
mod resource;
#[path = "shape/sampler.rs"]
mod sampler;
