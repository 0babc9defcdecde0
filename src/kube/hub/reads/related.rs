//! Owners, namespaces and nodes that pods were announced with: one by one, or by a list where many of a kind are wanted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::kube::client::Form;
use crate::kube::decode::{Decoder, ListSplitter, Piece, Related};
use crate::kube::hub::paths::encode;
use crate::kube::hub::reads::fetcher::Fetcher;
use crate::kube::hub::reads::rights::Right;
use crate::kube::owners::{FetchResult, WantedObject, plural};

/// From LIST_FROM of one kind and namespace on, a list costs the API server less than the single reads.
const LIST_FROM: usize = 16;
const PAGE_ITEMS: usize = 500;
const PAGES_MAX: usize = 20;

/// What to do next.
pub enum Job {
    One(WantedObject),
    List { path: String, wants: Vec<WantedObject> },
}

/// Wants by the list that has them all.
#[derive(Default)]
pub struct WantQueue {
    lists: BTreeMap<String, Vec<WantedObject>>,
    len: usize,
}

impl WantQueue {
    pub fn push(&mut self, want: WantedObject) {
        self.len += 1;
        self.lists.entry(collection(&want)).or_default().push(want);
    }

    pub fn waiting(&self) -> usize {
        self.len
    }

    pub fn take(&mut self) -> Option<Job> {
        let mut first = self.lists.first_entry()?;
        if first.get().len() >= LIST_FROM {
            let (path, wants) = first.remove_entry();
            self.len -= wants.len();
            return Some(Job::List { path, wants });
        }
        let want = first.get_mut().pop();
        if first.get().is_empty() {
            first.remove();
        }
        self.len -= usize::from(want.is_some());
        want.map(Job::One)
    }
}

impl Fetcher {
    /// Reads a list and settles what it has; what it could not tell of comes back.
    pub async fn list(&self, path: &str, wants: Vec<WantedObject>) -> Vec<WantedObject> {
        let Some(found) = self.listed(path).await else { return wants };
        for want in wants {
            let key = match &want {
                WantedObject::Owner { owner, .. } => &*owner.uid,
                WantedObject::Namespace(name) | WantedObject::Node(name) => &**name,
                WantedObject::Pod { .. } => continue,
            };
            self.settle(&want, found.get(key).cloned().map_or(FetchResult::Absent, FetchResult::Object));
        }
        Vec::new()
    }

    /// Every object of a list by uid and by name; `None` when not all could be read.
    async fn listed(&self, path: &str) -> Option<HashMap<Arc<str>, Arc<Related>>> {
        let mut found = HashMap::new();
        let mut page = String::new();
        for _ in 0..PAGES_MAX {
            let body = self.get(&format!("{path}?limit={PAGE_ITEMS}{page}"), Form::MetadataOnly).await.ok()?;
            let mut decoder = Decoder::new(self.keep.clone());
            let mut list = ListSplitter::default();
            list.push(&body, &mut |piece| {
                let read = match piece {
                    Piece::Object(item) => decoder.related(item).ok(),
                    Piece::TooLarge => None,
                };
                match read.map(Arc::new) {
                    Some(object) => {
                        found.insert(object.uid.clone(), object.clone());
                        found.insert(object.name.clone(), object);
                    }
                    None => self.shared.tell.undecodable(1),
                }
            });
            let rest = list.finish().ok()?.rest;
            if rest.is_empty() {
                return Some(found);
            }
            page = format!("&continue={}", encode(&rest));
        }
        None
    }
}

/// The path of the list that has the object.
fn collection(want: &WantedObject) -> String {
    match want {
        WantedObject::Pod { namespace, .. } => format!("/api/v1/namespaces/{}/pods", encode(namespace)),
        WantedObject::Namespace(_) => "/api/v1/namespaces".to_owned(),
        WantedObject::Node(_) => "/api/v1/nodes".to_owned(),
        // `apps/v1` ReplicaSet in `shop` -> `/apis/apps/v1/namespaces/shop/replicasets`.
        WantedObject::Owner { owner, namespace } => {
            let group: Vec<String> = owner.api_version.split('/').map(encode).collect();
            let root = if group.len() == 1 { "/api" } else { "/apis" };
            let (group, resource) = (group.join("/"), encode(&plural(&owner.kind)));
            // The one cluster-wide owner of pods: mirror pods belong to their node.
            if &*owner.kind == "Node" {
                return format!("{root}/{group}/{resource}");
            }
            format!("{root}/{group}/namespaces/{}/{resource}", encode(namespace))
        }
    }
}

/// The path of the object itself.
pub fn path(want: &WantedObject) -> String {
    let name = match want {
        WantedObject::Pod { name, .. } | WantedObject::Namespace(name) | WantedObject::Node(name) => name,
        WantedObject::Owner { owner, .. } => &*owner.name,
    };
    format!("{}/{}", collection(want), encode(name))
}

/// What must be allowed for it.
pub fn right(want: &WantedObject) -> Right {
    let (group, resource) = match want {
        WantedObject::Pod { .. } => ("", "pods".to_owned()),
        WantedObject::Namespace(_) => ("", "namespaces".to_owned()),
        WantedObject::Node(_) => ("", "nodes".to_owned()),
        WantedObject::Owner { owner, .. } => {
            (owner.api_version.split_once('/').map_or("", |(group, _)| group), plural(&owner.kind))
        }
    };
    Right { group: group.to_owned(), resource }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::pod::Owner;

    fn owner(number: usize) -> WantedObject {
        let (name, uid) = (format!("web-{number}").as_str().into(), format!("u{number}").as_str().into());
        let owner = Owner { api_version: "apps/v1".into(), kind: "ReplicaSet".into(), name, uid };
        WantedObject::Owner { owner, namespace: "shop".to_owned() }
    }

    #[test]
    fn many_of_a_kind_are_listed_and_few_are_read_one_by_one() {
        let mut queue = WantQueue::default();
        (0..LIST_FROM).for_each(|number| queue.push(owner(number)));
        queue.push(WantedObject::Namespace("shop".to_owned()));
        let Some(Job::One(want)) = queue.take() else { panic!("a single read") };
        assert_eq!(path(&want), "/api/v1/namespaces/shop");
        let Some(Job::List { path, wants }) = queue.take() else { panic!("a list") };
        assert_eq!((&*path, wants.len()), ("/apis/apps/v1/namespaces/shop/replicasets", LIST_FROM));
        assert!(queue.take().is_none() && queue.waiting() == 0);
    }

    #[test]
    fn a_right_has_the_group_and_the_plural_of_the_kind() {
        let expected = Right { group: "apps".to_owned(), resource: "replicasets".to_owned() };
        assert_eq!(right(&owner(1)), expected);
        assert_eq!(path(&owner(1)), "/apis/apps/v1/namespaces/shop/replicasets/web-1");
        assert_eq!(
            right(&WantedObject::Node("a".to_owned())),
            Right { group: String::new(), resource: "nodes".to_owned() }
        );
    }
}
