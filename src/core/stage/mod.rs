//! What a component is and what it is given: the stage, its lifecycle, its factory, its tasks, its questions to the world.

pub mod absences;
pub mod auth;
pub mod commands;
pub mod component;
pub mod consumer;
pub mod durable;
pub mod factory;
pub mod host;
pub mod joint;
pub mod last;
pub mod tasks;
pub mod transform;
