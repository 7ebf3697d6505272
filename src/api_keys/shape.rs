//! The shape of a key: `{prefix}_{environment}_`, 32 letters and digits, and six of a checksum.
//!
//! The checksum is CRC-32 (ISO 3309, as in zip) over all before it, in base 62. It is no secret: it
//! tells a key from a text that happens to look like one, before anything is looked up. A table of
//! 256 words, one step per byte: some 60 bytes take about a tenth of a microsecond, less than the
//! digest that follows.

/// Characters of the secret.
const SECRET: usize = 32;

/// Characters of the checksum.
const CHECKSUM: usize = 6;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What the keys of one service look like.
#[derive(Debug, Clone)]
pub struct KeyShape {
    start: Box<[u8]>,
}

impl KeyShape {
    /// Keys that begin like this, such as `vk_live_`.
    #[must_use]
    pub fn new(start: &str) -> Self {
        Self { start: start.as_bytes().into() }
    }

    /// Whether a text may be such a key: its shape and its checksum fit.
    #[inline]
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        if text.len() != self.start.len() + SECRET + CHECKSUM || !text.starts_with(&self.start) {
            return false;
        }
        let Some((body, checksum)) = text.split_last_chunk::<CHECKSUM>() else { return false };
        body.iter().skip(self.start.len()).all(u8::is_ascii_alphanumeric)
            && *checksum == in_base_62(crc32(body))
    }
}

fn in_base_62(mut number: u32) -> [u8; CHECKSUM] {
    let mut digits = [0; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(number % 62) as usize];
        number /= 62;
    }
    digits
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let (mut word, mut bit) = (index as u32, 0);
        while bit < 8 {
            word = if word & 1 == 1 { (word >> 1) ^ 0xEDB8_8320 } else { word >> 1 };
            bit += 1;
        }
        table[index] = word;
        index += 1;
    }
    table
};

#[inline]
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, &byte| (sum >> 8) ^ TABLE[usize::from((sum as u8) ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(start: &str, secret: &str) -> String {
        let body = format!("{start}{secret}");
        let checksum = in_base_62(crc32(body.as_bytes()));
        body + std::str::from_utf8(&checksum).unwrap()
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(&in_base_62(0), b"000000");
        assert_eq!(&in_base_62(61), b"00000z");
        assert_eq!(&in_base_62(u32::MAX), b"4gfFC3");
    }

    #[test]
    fn a_key_matches_and_what_is_cut_or_longer_does_not() {
        let shape = KeyShape::new("vk_live_");
        let key = key("vk_live_", "0123456789abcdefghijABCDEFGHIJ01");
        assert!(shape.matches(key.as_bytes()));
        assert!(!shape.matches(&key.as_bytes()[..key.len() - 1]));
        assert!(!shape.matches(format!("{key}0").as_bytes()));
        assert!(!KeyShape::new("vk_test_").matches(key.as_bytes()));
        assert!(!shape.matches(b""));
    }

    proptest! {
        #[test]
        fn no_text_but_a_key_matches(text: Vec<u8>) {
            prop_assert!(!KeyShape::new("vk_live_").matches(&text));
        }

        #[test]
        fn a_key_with_one_byte_changed_does_not_match(at in 0usize..46, to: u8) {
            let mut bytes = key("vk_live_", "0123456789abcdefghijABCDEFGHIJ01").into_bytes();
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            prop_assert!(!KeyShape::new("vk_live_").matches(&bytes));
        }
    }
}
