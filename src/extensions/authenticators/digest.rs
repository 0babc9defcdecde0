//! Comparing secrets without telling by the time it takes how much of a guess is right.

use std::hint::black_box;

use ring::digest::{SHA256, digest};

/// Stands for a secret: two are compared by their digests, so that length and content cost the same.
#[derive(Clone, Copy)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    pub fn of(secret: &[u8]) -> SecretDigest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, secret).as_ref());
        SecretDigest(bytes)
    }

    /// Looks at every byte, whatever it finds.
    pub fn is(&self, other: &SecretDigest) -> bool {
        let differences = self.0.iter().zip(&other.0).fold(0, |found, (a, b)| black_box(found | (a ^ b)));
        differences == 0
    }
}

/// Which of `known` the secret is. Looks at all of them.
pub fn position(known: &[SecretDigest], secret: &[u8]) -> Option<usize> {
    let presented = SecretDigest::of(secret);
    known.iter().enumerate().fold(None, |found, (at, one)| if one.is(&presented) { Some(at) } else { found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_among_others_and_nothing_near_it_is() {
        let known = ["one", "two", "three"].map(|secret| SecretDigest::of(secret.as_bytes()));
        assert_eq!(position(&known, b"two"), Some(1));
        for near in ["tw", "two ", "Two", "", "twoo"] {
            assert_eq!(position(&known, near.as_bytes()), None, "{near}");
        }
    }
}
