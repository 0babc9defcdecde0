//! What `podgate env` is told.

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A manifest: print a Kustomize patch for the containers of its workloads
    #[arg(long = "for", value_name = "FILE", conflicts_with = "container")]
    pub manifest: Option<String>,
    /// Where podgate is for the application
    #[arg(long, value_enum, default_value = "hostport")]
    pub mode: EndpointMode,
    /// Name of podgate's Service, with --mode service
    #[arg(long, default_value = "podgate.podgate.svc")]
    pub service: String,
    /// Name of the container that the printed block is for
    #[arg(long, default_value = "CONTAINER")]
    pub container: String,
    /// The nodes' addresses are IPv6: brackets around them
    #[arg(long)]
    pub ipv6: bool,
    /// Print an Instrumentation resource for the OpenTelemetry operator
    #[arg(long, conflicts_with_all = ["manifest", "container"])]
    pub instrumentation: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum EndpointMode {
    /// A DaemonSet on the node's own ports: the node's address
    Hostport,
    /// A DaemonSet behind a Service with internalTrafficPolicy: Local
    Service,
    /// A container beside the application's, in its own pod
    Sidecar,
}
