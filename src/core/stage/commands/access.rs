//! What a component reads of the Kubernetes API: what `podgate rbac` grants and nothing more.

/// The namespace that podgate runs in, whose name is not known before it runs.
pub const OWN_NAMESPACE: &str = "";

/// Verbs on one resource of one API group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    /// Empty for the core group.
    pub group: &'static str,
    /// In the plural, as roles name it.
    pub resource: &'static str,
    pub verbs: &'static [&'static str],
    /// In these namespaces only; empty: in all, or the resource has none. [`OWN_NAMESPACE`] is podgate's own.
    pub namespaces: Vec<String>,
    /// The attributes or rules that need it, for the reader.
    pub reason: String,
}
