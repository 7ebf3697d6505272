//! From a key to the digest that is stored of it: HMAC-SHA-256 (RFC 2104) under a pepper, or a plain
//! SHA-256 for keys that were imported.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What is stored of a key.
pub type Digest = [u8; 32];

/// What digests are made with. Shows nothing of itself.
#[derive(Clone)]
pub enum Pepper {
    /// A secret; both halves of the computation have begun with it already.
    Secret(Box<Hmac<Sha256>>),
    /// None: a plain SHA-256.
    Plain,
}

impl Pepper {
    /// A secret of any length.
    #[must_use]
    pub fn secret(secret: &[u8]) -> Self {
        // Every length is allowed; the error is for other algorithms.
        Hmac::new_from_slice(secret).map_or(Self::Plain, |begun| Self::Secret(Box::new(begun)))
    }

    /// The digest of a key.
    #[inline]
    #[must_use]
    pub fn digest(&self, key: &[u8]) -> Digest {
        match self {
            Self::Secret(begun) => {
                let mut mac = Hmac::clone(begun);
                mac.update(key);
                mac.finalize().into_bytes().into()
            }
            Self::Plain => Sha256::digest(key).into(),
        }
    }
}

impl std::fmt::Debug for Pepper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pepper")
    }
}

/// Whether two digests are the same, in a time that does not tell where they differ.
#[inline]
#[must_use]
pub fn is_same(one: &Digest, other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digest: Digest) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn digests_are_those_of_the_standards() {
        // RFC 4231, test case 2.
        assert_eq!(
            hex(Pepper::secret(b"Jefe").digest(b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        // FIPS 180-4, "abc".
        assert_eq!(
            hex(Pepper::Plain.digest(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn digests_are_compared_as_a_whole() {
        let digest = Pepper::Plain.digest(b"key");
        assert!(is_same(&digest, &digest));
        assert!(!is_same(&digest, &digest[1..]));
        assert!(!is_same(&digest, &Pepper::Plain.digest(b"other")));
    }

    #[test]
    fn a_pepper_is_not_shown() {
        assert_eq!(format!("{:?}", Pepper::secret(b"very secret")), "Pepper");
    }
}
