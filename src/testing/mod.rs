//! Sinks, generators and fake peers for tests, benches and the demo.
