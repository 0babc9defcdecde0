//! The items of one scope, undecoded and in order.
//!
//! As they arrive they are extents in one buffer, eight bytes each and without a reference count of their own, because
//! taking and giving back such a count per span costs more than finding the span. Items gathered from several buffers
//! are slices that own their part. It does not know what an item means.

use bytes::Bytes;

use crate::core::data::granted::list_bytes;

/// Where an item's bytes stand in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub from: u32,
    pub to: u32,
}

/// Items in order; equal when their bytes are. The number is what they take on the wire, each with its key and length, as
/// far as that is known: asking every item again for each of the lengths around it costs more than finding the items.
#[derive(Clone)]
pub struct Items(Kept, Option<u32>);

#[derive(Clone)]
enum Kept {
    /// Places in one buffer, each behind its own key and length on the wire.
    Within(Bytes, Vec<Extent>),
    Loose(Vec<Bytes>),
}

/// Items that stand side by side in one buffer and can leave as one slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemSlice {
    /// The bytes from the first item's first to the last item's last, keys and lengths between them included.
    pub bytes: Bytes,
    /// Length of the first item, whose own key and length stand before `bytes`.
    pub first: usize,
}

impl Items {
    pub const fn new() -> Items {
        Items(Kept::Loose(Vec::new()), None)
    }

    /// Items as they were read from `buffer`: extents ascend, and what stands right before each is its key and length.
    pub fn within(buffer: Bytes, extents: Vec<Extent>) -> Items {
        debug_assert!(
            extents.last().is_none_or(|extent| extent.to as usize <= buffer.len()),
            "a extent beyond the buffer"
        );
        Items(Kept::Within(buffer, extents), None)
    }

    /// The same with what they take on the wire, each with its shortest key and length.
    pub fn within_measured(buffer: Bytes, extents: Vec<Extent>, wire: u32) -> Items {
        Items(Items::within(buffer, extents).0, Some(wire))
    }

    /// What the items take on the wire; `between(length)` is what an item's key and length take. Counted once at most for
    /// items as they arrived.
    pub fn wire_len(&self, between: impl Fn(usize) -> usize) -> usize {
        match self.1 {
            Some(known) => known as usize,
            None => self.iter().map(|item| between(item.len()) + item.len()).sum(),
        }
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Kept::Within(_, extents) => extents.len(),
            Kept::Loose(slices) => slices.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub fn get(&self, at: usize) -> Option<&[u8]> {
        match &self.0 {
            Kept::Within(buffer, extents) => extents.get(at).map(|extent| slice(buffer, *extent)),
            Kept::Loose(slices) => slices.get(at).map(|slice| &slice[..]),
        }
    }

    pub fn first(&self) -> Option<&[u8]> {
        self.get(0)
    }

    pub fn last(&self) -> Option<&[u8]> {
        self.get(self.len().checked_sub(1)?)
    }

    pub fn iter(&self) -> Iter<'_> {
        match &self.0 {
            Kept::Within(buffer, extents) => Iter::Within(buffer, extents.iter()),
            Kept::Loose(slices) => Iter::Loose(slices.iter()),
        }
    }

    /// Up to `count` items from the one at `first` on.
    pub fn range(&self, first: usize, count: usize) -> Iter<'_> {
        match &self.0 {
            Kept::Within(buffer, extents) => Iter::Within(buffer, part(extents, first, count).iter()),
            Kept::Loose(slices) => Iter::Loose(part(slices, first, count).iter()),
        }
    }

    /// The bytes from the first of these items to the last, keys and lengths and whatever else stands between included;
    /// `None` when they are not in one buffer, or fewer.
    pub fn stretch(&self, first: usize, count: usize) -> Option<&[u8]> {
        let Kept::Within(buffer, extents) = &self.0 else { return None };
        let extents = part(extents, first, count);
        let (from, to) = (extents.first()?.from, extents.last()?.to);
        buffer.get(from as usize..to as usize).filter(|_| extents.len() == count)
    }

    /// Bytes of all items together, without keys and lengths.
    pub fn byte_len(&self) -> usize {
        self.iter().map(<[u8]>::len).sum()
    }

    /// Memory of the list itself, free space included.
    pub fn structure_bytes(&self) -> usize {
        match &self.0 {
            Kept::Within(_, extents) => list_bytes::<Extent>(extents.capacity()),
            Kept::Loose(slices) => list_bytes::<Bytes>(slices.capacity()),
        }
    }

    /// Memory of a list of so many of these items.
    pub fn structure_bytes_of(&self, count: usize) -> usize {
        match &self.0 {
            Kept::Within(..) => list_bytes::<Extent>(count),
            Kept::Loose(_) => list_bytes::<Bytes>(count),
        }
    }

    /// Makes an empty list that will take so many items of another one with `push_from`, and no more memory then.
    pub fn reserve_from(&mut self, other: &Items, count: usize) {
        self.0 = match &other.0 {
            // granted: by the caller, see structure_bytes_of
            Kept::Within(buffer, _) => Kept::Within(buffer.clone(), Vec::with_capacity(count)),
            Kept::Loose(_) => Kept::Loose(Vec::with_capacity(count)), // granted: by the caller, see structure_bytes_of
        };
    }

    /// The item as a slice of its own.
    pub fn slice(&self, at: usize) -> Option<Bytes> {
        match &self.0 {
            Kept::Within(buffer, extents) => extents.get(at).map(|extent| own(buffer, *extent)),
            Kept::Loose(slices) => slices.get(at).cloned(),
        }
    }

    pub fn push(&mut self, item: Bytes) {
        self.1 = None;
        match &mut self.0 {
            Kept::Loose(slices) => slices.push(item),
            Kept::Within(..) => self.add([item]),
        }
    }

    /// Adds an item of another list without copying its bytes; nothing when there is none at `at`.
    pub fn push_from(&mut self, other: &Items, at: usize) {
        self.1 = None;
        match (&mut self.0, &other.0) {
            (Kept::Loose(slices), Kept::Within(buffer, extents)) if slices.is_empty() => {
                let extent = extents.get(at).copied();
                self.0 = Kept::Within(buffer.clone(), extent.into_iter().collect());
            }
            (Kept::Within(mine, into), Kept::Within(theirs, extents))
                if mine.as_ptr() == theirs.as_ptr() && mine.len() == theirs.len() =>
            {
                into.extend(extents.get(at)); // granted: by the caller, see reserve_from
            }
            (_, Kept::Within(buffer, extents)) => {
                self.add(extents.get(at).map(|extent| own(buffer, *extent)));
            }
            // granted: by the caller, see reserve_from
            (Kept::Loose(mine), Kept::Loose(slices)) => mine.extend(slices.get(at).cloned()),
            (_, Kept::Loose(slices)) => self.add(slices.get(at).cloned()),
        }
    }

    /// Adds these items of another list without copying their bytes; those that are there.
    pub fn extend_from(&mut self, other: &Items, range: std::ops::Range<usize>) {
        self.1 = None;
        match (&mut self.0, &other.0) {
            (Kept::Loose(mine), Kept::Within(buffer, extents)) if mine.is_empty() => {
                let extents = part(extents, range.start, range.len());
                // granted: by the caller, see structure_bytes_of
                self.0 = Kept::Within(buffer.clone(), extents.to_vec());
            }
            (Kept::Within(mine, into), Kept::Within(theirs, extents))
                if mine.as_ptr() == theirs.as_ptr() && mine.len() == theirs.len() =>
            {
                // granted: by the caller, see reserve_from
                into.extend_from_slice(part(extents, range.start, range.len()));
            }
            _ => range.for_each(|at| self.push_from(other, at)),
        }
    }

    /// Keeps the items of which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        self.1 = None;
        match &mut self.0 {
            Kept::Within(buffer, extents) => extents.retain(|extent| keep(slice(buffer, *extent))),
            Kept::Loose(slices) => slices.retain(|slice| keep(slice)),
        }
    }

    pub fn clear(&mut self) {
        *self = Items::new();
    }

    /// All items as runs, each as long as its items stand side by side with nothing but `between(length)` bytes of key
    /// and length between them.
    pub fn runs(&self, between: impl Fn(usize) -> usize, mut visit: impl FnMut(ItemSlice)) {
        let (buffer, extents) = match &self.0 {
            Kept::Loose(slices) => {
                slices.iter().for_each(|slice| visit(ItemSlice { first: slice.len(), bytes: slice.clone() }));
                return;
            }
            Kept::Within(buffer, extents) => (buffer, extents),
        };
        if let Some(run) = self.whole(buffer, extents, &between) {
            return visit(run);
        }
        let mut rest = extents.iter().copied().peekable();
        while let Some(first) = rest.next() {
            let mut end = first.to;
            // The gap is as long as the shortest key and length of this item, which stand there: so there is nothing else.
            while let Some(next) = rest.next_if(|next| {
                next.from.checked_sub(end).is_some_and(|gap| gap as usize == between((next.to - next.from) as usize))
            }) {
                end = next.to;
            }
            let bytes = buffer.slice(first.from as usize..end as usize);
            visit(ItemSlice { bytes, first: (first.to - first.from) as usize });
        }
    }

    /// All items as one run, when it is known without asking each: there is nothing between them when from the first to the
    /// last they are no longer than their bytes, keys and lengths, of which none is shorter than the shortest.
    fn whole(&self, buffer: &Bytes, extents: &[Extent], between: impl Fn(usize) -> usize) -> Option<ItemSlice> {
        let (first, last) = (extents.first()?, extents.last()?);
        let length = (first.to - first.from) as usize;
        let stretch = first.from as usize..last.to as usize;
        let alone = between(length) + stretch.len() == self.1? as usize;
        alone.then(|| ItemSlice { bytes: buffer.slice(stretch), first: length })
    }

    /// Adds slices; extents become slices of their own.
    fn add(&mut self, more: impl IntoIterator<Item = Bytes>) {
        let mut slices = match std::mem::take(self).0 {
            Kept::Loose(slices) => slices,
            Kept::Within(buffer, extents) => extents.iter().map(|extent| own(&buffer, *extent)).collect(),
        };
        slices.extend(more); // granted: by the caller, who paid for one item
        self.0 = Kept::Loose(slices);
    }
}

#[inline]
fn slice(buffer: &Bytes, extent: Extent) -> &[u8] {
    &buffer[extent.from as usize..extent.to as usize]
}

/// As much of `whole[first..first + count]` as there is.
fn part<T>(whole: &[T], first: usize, count: usize) -> &[T] {
    let first = first.min(whole.len());
    &whole[first..first.saturating_add(count).min(whole.len())]
}

fn own(buffer: &Bytes, extent: Extent) -> Bytes {
    buffer.slice(extent.from as usize..extent.to as usize)
}

impl Default for Items {
    fn default() -> Items {
        Items::new()
    }
}

impl From<Vec<Bytes>> for Items {
    fn from(slices: Vec<Bytes>) -> Items {
        Items(Kept::Loose(slices), None)
    }
}

impl FromIterator<Bytes> for Items {
    fn from_iter<T: IntoIterator<Item = Bytes>>(slices: T) -> Items {
        Items(Kept::Loose(slices.into_iter().collect()), None)
    }
}

impl PartialEq for Items {
    fn eq(&self, other: &Items) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Items {}

impl std::fmt::Debug for Items {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self).finish()
    }
}

impl<'a> IntoIterator for &'a Items {
    type Item = &'a [u8];
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The bytes of each item.
#[derive(Clone, Debug)]
pub enum Iter<'a> {
    Within(&'a [u8], std::slice::Iter<'a, Extent>),
    Loose(std::slice::Iter<'a, Bytes>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        match self {
            Iter::Within(buffer, extents) => {
                extents.next().map(|extent| &buffer[extent.from as usize..extent.to as usize])
            }
            Iter::Loose(slices) => slices.next().map(|slice| &slice[..]),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Iter::Within(_, extents) => extents.size_hint(),
            Iter::Loose(slices) => slices.size_hint(),
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items of these lengths behind two bytes of key and length each, and the lengths of what stands between some.
    fn arrived(lengths: &[u32], foreign: &[u32]) -> Items {
        let (mut buffer, mut extents) = (Vec::new(), Vec::new());
        for (at, length) in lengths.iter().enumerate() {
            buffer.extend(vec![0; foreign.get(at).copied().unwrap_or(0) as usize]);
            buffer.extend([0x12, *length as u8]);
            let from = buffer.len() as u32;
            buffer.extend(vec![at as u8 + 1; *length as usize]);
            extents.push(Extent { from, to: from + length });
        }
        Items::within(buffer.into(), extents)
    }

    fn runs(items: &Items) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        items.runs(|_| 2, |run| found.push((run.first, run.bytes.len())));
        found
    }

    #[test]
    fn items_side_by_side_are_one_run_and_whatever_stands_between_cuts_it() {
        assert_eq!(runs(&arrived(&[3, 4, 0, 5], &[])), [(3, 18)]);
        assert_eq!(runs(&arrived(&[3, 4, 5, 6], &[0, 0, 1])), [(3, 9), (5, 13)]);
        let mut kept = arrived(&[3, 4, 5], &[]);
        kept.retain(|item| item.len() != 4);
        assert_eq!(runs(&kept), [(3, 3), (5, 5)]);
        assert_eq!(runs(&Items::new()), []);
    }

    #[test]
    fn a_stretch_is_all_that_stands_from_one_item_to_another() {
        let items = arrived(&[3, 4, 5], &[0, 1]);
        assert_eq!(items.stretch(0, 3).map(<[u8]>::len), Some(3 + 1 + 2 + 4 + 2 + 5));
        assert_eq!(items.stretch(2, 1), Some(&[3; 5][..]));
        assert_eq!((items.stretch(2, 2), items.stretch(0, 0), items.stretch(9, 1)), (None, None, None));
        assert_eq!(Items::from(vec![Bytes::from_static(b"own")]).stretch(0, 1), None);
    }

    #[test]
    fn gathered_items_equal_those_that_arrived_whatever_they_were_gathered_from() {
        let (one, other) = (arrived(&[3, 4, 5], &[]), arrived(&[1, 2], &[]));
        let mut same = Items::new();
        (0..3).for_each(|at| same.push_from(&one, at));
        assert_eq!(same, one);
        assert_eq!(runs(&same), [(3, 16)], "still extents in the one buffer");
        let mut mixed = Items::new();
        mixed.push_from(&one, 2);
        mixed.push_from(&other, 1);
        mixed.push(Bytes::from_static(b"own"));
        mixed.push_from(&one, 9);
        assert_eq!(mixed.iter().collect::<Vec<_>>(), [&[3; 5][..], &[2; 2], b"own"]);
        assert_eq!((mixed.len(), mixed.byte_len()), (3, 10));
        let mut reversed = Items::new();
        [2, 0].into_iter().for_each(|at| reversed.push_from(&one, at));
        assert_eq!(runs(&reversed), [(5, 5), (3, 3)]);
    }
}
