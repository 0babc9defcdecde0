//! Pods files as kubectl prints them, and files that are something else.

use super::*;
use crate::kube::decode::KeepKey;
use crate::kube::pod::RunState;

const LIST: &str = r#"
apiVersion: v1
kind: List
metadata:
  resourceVersion: ""
items:
- apiVersion: v1
  kind: Pod
  metadata:
    creationTimestamp: "2026-11-21T06:05:02Z"
    labels:
      app: cart
      on: "yes"
      build: "0777"
    name: cart-1
    namespace: shop
    resourceVersion: "208"
    uid: u-1
  spec:
    containers:
    - image: example.com/cart:1.4.2
      name: app
    nodeName: node-a
  status:
    containerStatuses:
    - containerID: containerd://aa
      image: example.com/cart:1.4.2
      imageID: example.com/cart@sha256:bb
      lastState: {}
      name: app
      restartCount: 3
      state:
        running:
          startedAt: "2026-11-21T06:05:03Z"
    phase: Running
    podIP: 10.1.0.5
    podIPs:
    - ip: 10.1.0.5
- apiVersion: v1
  kind: Service
  metadata:
    name: no-pod
"#;

fn keep() -> Keep {
    Keep { labels: vec![KeepKey::All], ..Keep::default() }
}

#[test]
fn a_list_as_kubectl_prints_it_is_read_and_what_is_no_pod_is_skipped() {
    let pods = parse(LIST, keep()).unwrap();
    assert_eq!((pods.seen.len(), pods.skipped), (1, 1));
    let pod = &pods.seen[0].pod;
    assert_eq!((&*pod.uid, &*pod.name, &*pod.node), ("u-1", "cart-1", "node-a"));
    assert_eq!(pod.ips, ["10.1.0.5".parse::<std::net::IpAddr>().unwrap()]);
    let labels: Vec<_> = pod.labels.iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(labels, [("app", "cart"), ("build", "0777"), ("on", "yes")]);
    let status = &pod.statuses[0];
    assert_eq!((&*status.id, status.restart_count), ("aa", 3));
    assert!(matches!(status.state, RunState::Running { started: Some(_) }));
}

#[test]
fn json_and_yaml_say_the_same() {
    let yaml = parse(LIST, keep()).unwrap();
    let text = LIST.to_owned();
    let documents = Yaml::load_from_str(&text).unwrap();
    let json = to_json(&documents[0], DEPTH_MAX, &mut VALUES_MAX.clone()).unwrap();
    let list = serde_json::to_string_pretty(&json).unwrap();
    assert_eq!(parse(&list, keep()).unwrap().seen, yaml.seen);
    let single = json["items"][0].to_string();
    assert_eq!(parse(&single, keep()).unwrap().seen, yaml.seen);
}

#[test]
fn several_documents_and_empty_lists_are_read() {
    let single = LIST.split("items:\n- ").nth(1).unwrap().split("- apiVersion").next().unwrap().replace("\n  ", "\n");
    let two = format!("{single}---\n{single}");
    assert_eq!(parse(&two, keep()).unwrap().seen.len(), 2);
    assert_eq!(parse("kind: PodList\nitems: []\n", keep()).unwrap(), StaticPods::default());
    assert_eq!(parse("", keep()).unwrap(), StaticPods::default());
}

#[test]
fn what_is_no_list_of_pods_is_an_error_and_never_a_panic() {
    let deep = format!("items: [{}{}]", "[".repeat(200), "]".repeat(200));
    for text in ["a: [", "{\"kind\":", "kind: Service\nmetadata: {name: x}", "just text", "{}", &deep] {
        assert!(parse(text, keep()).is_err(), "{text:.40}");
    }
}

#[test]
fn aliases_cannot_blow_the_file_up() {
    let mut bomb = "a0: &a0 {x: [1, 2, 3, 4, 5, 6, 7, 8, 9]}\n".to_owned();
    for level in 1..40 {
        let before = level - 1;
        bomb.push_str(&format!("a{level}: &a{level} [*a{before}, *a{before}, *a{before}, *a{before}]\n"));
    }
    bomb.push_str("items: *a39\n");
    assert!(parse(&bomb, keep()).is_err());
}

#[tokio::test]
async fn a_missing_file_is_named_in_the_error() {
    let fault = read(Path::new("/no/such/pods.yaml"), keep()).await.unwrap_err();
    assert!(fault.starts_with("/no/such/pods.yaml: "), "{fault}");
}
