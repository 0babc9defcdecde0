//! OTTL conditions: parse, check, evaluate on items.
#[derive(Debug)]
pub struct Condition;
#[derive(Clone, Copy)]
pub enum Context {
    Span,
    SpanEvent,
}
pub struct Failure;
pub struct Item<'a>(&'a [u8]);
impl<'a> Item<'a> {
    pub fn span(span: &'a [u8], _scope: &'a [u8], _resource: &'a [u8]) -> Item<'a> {
        Item(span)
    }
    pub fn events(&self) -> impl Iterator<Item = &'a [u8]> {
        std::iter::empty()
    }
    pub fn with_event(&self, _event: &'a [u8]) -> Item<'a> {
        Item(self.0)
    }
}
impl Condition {
    pub fn parse(_text: &str, _context: Context) -> Result<Condition, &'static str> {
        Err("not there yet")
    }
    pub fn matches(&self, _item: &Item<'_>) -> Result<bool, Failure> {
        Err(Failure)
    }
}
