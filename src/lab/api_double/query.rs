//! Which pods a request asks for.

/// Which pods a request is about.
#[derive(Clone, Debug, Default)]
pub struct PodQuery {
    pub namespace: Option<String>,
    pub node: Option<String>,
    pub name: Option<String>,
}

impl PodQuery {
    pub fn takes(&self, namespace: &str, node: &str, name: &str) -> bool {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        fits(&self.namespace, namespace) && fits(&self.node, node) && fits(&self.name, name)
    }
}
