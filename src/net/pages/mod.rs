//! Pages over HTTP: what probes, the admin extension and the metrics endpoint show.
//!
//! A page is a plain function ([`page`]); components that bring routes of their own use [`router`].

pub mod listener;
pub mod page;
pub mod router;
