//! Huffman codes of limited length (RFC 1951 3.2.2): the lengths from counts, the codes from the lengths.

/// The most symbols an alphabet has: literals, the end of a block and the lengths of repeats, two of which never come.
pub const SYMBOLS_MAX: usize = 288;
/// Longer than any code of these counts can get: a length grows by one where counts grow like Fibonacci's numbers.
const DEPTHS: usize = 48;

/// A code and how many bits it has, the first one lowest.
#[derive(Clone, Copy, Default)]
pub struct HuffmanCode {
    pub bits: u16,
    pub length: u8,
}

/// The length of each symbol's code, `limit` bits at most; 0 where the symbol does not come. Two symbols have one in any
/// case, because some readers refuse an alphabet of fewer. `counts` are in all fewer than two to the power of 32.
pub fn lengths<const N: usize>(counts: &[u32; N], limit: usize) -> [u8; N] {
    let mut used = [(0u32, 0u16); SYMBOLS_MAX];
    let mut leaves = 0;
    for (symbol, count) in (0u16..).zip(counts) {
        if *count > 0 {
            used[leaves] = (*count, symbol);
            leaves += 1;
        }
    }
    for symbol in 0..2 {
        if leaves < 2 && counts[usize::from(symbol)] == 0 {
            used[leaves] = (1, symbol);
            leaves += 1;
        }
    }
    let used = &mut used[..leaves];
    used.sort_unstable();
    let mut depths = depths(used);
    limit_depths(&mut depths, limit);
    let mut lengths = [0; N];
    // The rarest symbols have the longest codes.
    let mut rest = used.iter();
    for length in (1..=limit).rev() {
        for (_, symbol) in rest.by_ref().take(depths[length] as usize) {
            lengths[usize::from(*symbol)] = length as u8;
        }
    }
    lengths
}

/// How many leaves of Huffman's tree lie how deep; `used` is sorted.
fn depths(used: &[(u32, u16)]) -> [u32; DEPTHS] {
    let leaves = used.len();
    // Of nodes, leaves first and then inner ones in the order in which they are made, which is that of their weights.
    let (mut weights, mut parents) = ([0u32; 2 * SYMBOLS_MAX], [0u16; 2 * SYMBOLS_MAX]);
    for (weight, (count, _)) in weights.iter_mut().zip(used) {
        *weight = *count;
    }
    let (mut leaf, mut inner) = (0, leaves);
    let root = 2 * leaves - 2;
    for made in leaves..=root {
        for _ in 0..2 {
            let takes_leaf = leaf < leaves && (inner == made || weights[leaf] <= weights[inner]);
            let child = if takes_leaf { &mut leaf } else { &mut inner };
            weights[made] += weights[*child];
            parents[*child] = made as u16;
            *child += 1;
        }
    }
    let (mut counts, mut depth_of) = ([0u32; DEPTHS], [0u8; 2 * SYMBOLS_MAX]);
    for node in (0..root).rev() {
        let depth = depth_of[usize::from(parents[node])] + 1;
        depth_of[node] = depth;
        counts[usize::from(depth)] += u32::from(node < leaves);
    }
    counts
}

/// Moves leaves that lie too deep up, and others down until the codes fit again (Kraft's sum is one).
fn limit_depths(depths: &mut [u32; DEPTHS], limit: usize) {
    let deep: u32 = depths[limit + 1..].iter().sum();
    depths[limit + 1..].fill(0);
    depths[limit] += deep;
    let mut sum: u32 = (1..=limit).map(|depth| depths[depth] << (limit - depth)).sum();
    while sum > 1 << limit {
        depths[limit] -= 1;
        if let Some(depth) = (1..limit).rev().find(|depth| depths[*depth] > 0) {
            depths[depth] -= 1;
            depths[depth + 1] += 2;
        }
        sum -= 1;
    }
}

/// The codes of an alphabet from their lengths.
pub fn codes<const N: usize>(lengths: &[u8; N]) -> [HuffmanCode; N] {
    let mut next = [0u16; 17];
    for length in lengths.iter().filter(|length| **length > 0) {
        next[usize::from(*length) + 1] += 1;
    }
    for length in 1..16 {
        next[length] = (next[length] + next[length - 1]) << 1;
    }
    lengths.map(|length| {
        let code = &mut next[usize::from(length)];
        let bits = code.reverse_bits().checked_shr(16 - u32::from(length)).unwrap_or(0);
        *code += u16::from(length > 0);
        HuffmanCode { bits, length }
    })
}
