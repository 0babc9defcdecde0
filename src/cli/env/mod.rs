//! `podgate env`: what an application's pod needs so that podgate knows its containers, as YAML to copy or to apply.

pub mod args;
mod block;
mod workloads;

use std::fmt::Write as _;

use crate::cli::Exit;
use crate::cli::env::args::{Args, EndpointMode};
use crate::cli::env::workloads::Workload;
use crate::config::read::manifest;
use crate::config::read::source::read_file;
use crate::telemetry::stdout;

pub fn run(args: &Args) -> Exit {
    let Some(path) = &args.manifest else {
        let text =
            if args.instrumentation { instrumentation(args) } else { block::variables(args, &args.container, None, 0) };
        stdout::line(text.trim_end());
        return Exit::Ok;
    };
    let text = match read_file(path) {
        Ok(text) => text,
        Err(why) => {
            stdout::error_line(&format!("--for {path}: {why}\n{UNREAD}"));
            return Exit::Usage;
        }
    };
    match patch(args, path, &text) {
        Ok(text) => {
            stdout::line(text.trim_end());
            Exit::Ok
        }
        Err(why) => {
            stdout::error_line(&format!("--for {path}: {why}\n{UNFIT}"));
            Exit::Configuration
        }
    }
}

const UNREAD: &str = "  -> name the application's manifest as a file (of what runs already: kubectl get deployment NAME -o yaml > \
                      deployment.yaml), or leave out --for to print the variables themselves";
const UNFIT: &str =
    "  -> name a file with the application's workload in it, or leave out --for to print the variables themselves";

/// A kustomization that adds the variables to every container of the manifest's workloads.
pub fn patch(args: &Args, path: &str, text: &str) -> Result<String, String> {
    let objects = manifest::objects(text)
        .ok_or("this is not a Kubernetes manifest: it has no apiVersion and kind, or it is not YAML")?;
    let workloads: Vec<Workload> = objects.iter().filter_map(Workload::of).collect();
    if workloads.is_empty() {
        return Err("it holds no Deployment, DaemonSet, StatefulSet, ReplicaSet, Job, CronJob or Pod".to_owned());
    }
    let file = path.rsplit('/').next().unwrap_or(path);
    let mut yaml = format!(
        "# kustomization.yaml beside {file}; then: kubectl apply -k .\n\
         apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n  - {}\npatches:\n",
        block::quoted(file)
    );
    for workload in &workloads {
        let (kind, name) = (&workload.kind, block::quoted(&workload.name));
        let _ = write!(yaml, "  - target:\n      kind: {kind}\n      name: {name}\n    patch: |-\n");
        for line in workload.patch(args).lines() {
            let _ = writeln!(yaml, "      {line}");
        }
    }
    Ok(yaml)
}

/// The operator writes pod and container into OTEL_RESOURCE_ATTRIBUTES itself, the pod's uid when it is told to.
pub fn instrumentation(args: &Args) -> String {
    let endpoint = block::endpoint(args);
    let node =
        if args.mode == EndpointMode::Hostport { format!("  env:\n{}", block::node_ip(4)) } else { String::new() };
    format!(
        "apiVersion: opentelemetry.io/v1alpha1\nkind: Instrumentation\nmetadata:\n  name: podgate\nspec:\n  exporter:\n    \
         endpoint: \"{endpoint}\"\n  resource:\n    # podgate finds the pod by its uid.\n    addK8sUIDAttributes: true\n\
         \x20 propagators: [tracecontext, baggage]\n{node}"
    )
}

#[cfg(test)]
mod tests;
