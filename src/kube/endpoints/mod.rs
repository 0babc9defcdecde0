//! Who stands behind one service: a pure core of its EndpointSlices, and the async shell of their watch.

mod reader;
mod slices;

pub use self::reader::EndpointReader;
pub use self::slices::{ServiceSlices, ServiceState};
