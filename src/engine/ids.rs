//! How ids become parts of keys and tags.
//!
//! An id is escaped like a URL component: the characters that mean something in a key, a tag or
//! a wildcard (`: * ? [ ] %` and control characters) become `%XX`. So no id can end its own
//! segment, add another one or widen a wildcard, and two ids that differ stay different.
//!
//! A UUID has one spelling here, the lower-case one with hyphens, however it was written.

use smallvec::SmallVec;

/// Text of a key or a tag under construction; nearly always short enough to stay on the stack.
pub type Text = SmallVec<[u8; 192]>;

const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[0x7F] = true;
    let special = b":*?[]%";
    let mut at = 0;
    while at < special.len() {
        table[special[at] as usize] = true;
        at += 1;
    }
    table
};

const UUID_DIGITS: usize = 32;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends an id to a key: a UUID in its one spelling, anything else escaped.
#[inline]
pub fn push_id(id: &[u8], out: &mut Text) {
    if is_plain(id) {
        return out.extend_from_slice(id);
    }
    match canonical_uuid(id) {
        Some(uuid) => out.extend_from_slice(&uuid),
        None => push_escaped(id, out),
    }
}

/// Appends the 128 bits of a UUID in their one spelling.
pub fn push_uuid(bits: u128, out: &mut Text) {
    out.extend_from_slice(&uuid_text(bits));
}

/// Length of a UUID in its one spelling.
pub const UUID_CHARACTERS: usize = 36;

/// The one spelling of a UUID.
#[inline]
#[must_use]
pub fn uuid_text(bits: u128) -> [u8; UUID_CHARACTERS] {
    let [a, b, c, d] = [96, 64, 32, 0].map(|shift| hex_digits((bits >> shift) as u32));
    let mut text = [b'-'; UUID_CHARACTERS];
    text[..8].copy_from_slice(&a);
    text[9..13].copy_from_slice(&b[..4]);
    text[14..18].copy_from_slice(&b[4..]);
    text[19..23].copy_from_slice(&c[..4]);
    text[24..28].copy_from_slice(&c[4..]);
    text[28..].copy_from_slice(&d);
    text
}

/// The hexadecimal digits of 32 bits, all eight at a time.
#[inline]
#[must_use]
pub fn hex_digits(bits: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Each half byte moves into a byte of its own, the last one lowest.
    let spread = u64::from(bits);
    let spread = (spread | (spread << 16)) & 0x0000_FFFF_0000_FFFF;
    let spread = (spread | (spread << 8)) & 0x00FF_00FF_00FF_00FF;
    let spread = (spread | (spread << 4)) & (0x0F * ONES);
    // Ten and above gain a bit by adding six, and so the distance from '9' + 1 to 'a'.
    let letters = ((spread + 6 * ONES) >> 4) & ONES;
    let gap = u64::from(b'a' - b'9' - 1);
    (spread + u64::from(b'0') * ONES + letters * gap).to_be_bytes()
}

/// Writes a tag in the form all spellings of it share.
///
/// What follows the first `:` is an id, or several. Here every spelling that `uuid.UUID()` takes
/// counts as one UUID: merging two tags can only invalidate more, never less.
pub fn push_tag(tag: &[u8], out: &mut Text) {
    let Some(colon) = tag.iter().position(|&byte| byte == b':') else {
        return out.extend_from_slice(tag);
    };
    let (kind, id) = (&tag[..=colon], &tag[colon + 1..]);
    out.extend_from_slice(kind);
    if let Some(bits) = any_uuid(id) {
        return push_uuid(bits, out);
    }
    for (at, part) in id.split(|&byte| byte == b':').enumerate() {
        if at > 0 {
            out.extend_from_slice(b"%3A");
        }
        match any_uuid(part) {
            Some(bits) => push_uuid(bits, out),
            None => push_escaped(part, out),
        }
    }
}

/// Whether a tag is already in the form that all spellings of it share; may say no to one that is.
#[inline]
pub(super) fn is_canonical_tag(tag: &[u8]) -> bool {
    match tag.iter().position(|&byte| byte == b':') {
        Some(colon) => {
            let id = &tag[colon + 1..];
            is_plain(id) && is_canonical(id)
        }
        None => true,
    }
}

/// Writes the tag of a segment that stands in a key already, and is therefore escaped.
pub(super) fn push_tag_of_segment(kind: &[u8], segment: &[u8], out: &mut Text) {
    out.extend_from_slice(kind);
    out.push(b':');
    match if is_canonical(segment) { None } else { any_uuid(segment) } {
        Some(bits) => push_uuid(bits, out),
        None => out.extend_from_slice(segment),
    }
}

/// Whether a segment, taken for an id as its owner writes it, would stand in a key otherwise.
pub(super) fn is_unescaped(segment: &[u8]) -> bool {
    segment.iter().any(|&byte| ESCAPED[usize::from(byte)])
}

/// A key or wildcard with every segment that is a UUID in its one spelling; `None` where that
/// changes nothing.
#[must_use]
pub fn with_canonical_uuids(key: &[u8]) -> Option<Vec<u8>> {
    // Nearly every key: no UUID, or all of them as they should be.
    if key.split(|&byte| byte == b':').all(|part| is_canonical(part) || any_uuid(part).is_none()) {
        return None;
    }
    let mut out = Text::new();
    for (at, segment) in key.split(|&byte| byte == b':').enumerate() {
        if at > 0 {
            out.push(b':');
        }
        match any_uuid(segment) {
            Some(bits) => push_uuid(bits, &mut out),
            None => out.extend_from_slice(segment),
        }
    }
    Some(out.to_vec())
}

#[inline]
fn push_escaped(id: &[u8], out: &mut Text) {
    if !id.iter().any(|&byte| ESCAPED[usize::from(byte)]) {
        return out.extend_from_slice(id);
    }
    for &byte in id {
        if ESCAPED[usize::from(byte)] {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
        } else {
            out.push(byte);
        }
    }
}

/// Whether an id stands in a key just as it is, whatever it means: nothing to be escaped, and no
/// capital letter or brace, which could be part of a UUID. May say no to one that does.
#[inline]
#[must_use]
pub fn is_plain(id: &[u8]) -> bool {
    // This runs for each id of a lookup, so many bytes at a time: as long as a vector register.
    const STEP: usize = 16;
    let (steps, _) = id.as_chunks::<STEP>();
    match id.last_chunk::<STEP>() {
        Some(last) => !steps.iter().chain([last]).any(|step| may_change(step)),
        None => !may_change(id),
    }
}

/// Whether one of these bytes may stand in a key otherwise than by itself. Ranges say more than
/// single characters, in fewer instructions: `?` to `]` has all capital letters in it.
#[inline(always)]
fn may_change(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |seen, &byte| {
        seen | (byte < b' ')
            | (byte == b'%')
            | (byte == b'*')
            | (byte == b':')
            | (byte.wrapping_sub(b'?') <= b']' - b'?')
            | (byte.wrapping_sub(b'{') <= 0x7F - b'{')
    })
}

/// Whether an id is a UUID in its one spelling, or far too short for one in any.
fn is_canonical(id: &[u8]) -> bool {
    id.len() < UUID_DIGITS || canonical_uuid(id).is_some_and(|uuid| uuid == id)
}

/// The one spelling of a UUID written with hyphens, in any case, bare, in braces or as a URN.
#[inline]
fn canonical_uuid(id: &[u8]) -> Option<[u8; 36]> {
    let digits: &[u8; 36] = match id.len() {
        36 => id.try_into().ok()?,
        38 => id.strip_prefix(b"{")?.strip_suffix(b"}")?.try_into().ok()?,
        45 if id[..9].eq_ignore_ascii_case(b"urn:uuid:") => id[9..].try_into().ok()?,
        _ => return None,
    };
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];
    if HYPHENS.iter().any(|&at| digits[at] != b'-') {
        return None;
    }
    // Without branches: this runs for each id of a lookup. A byte that is no digit becomes 0xFF,
    // which no digit and no hyphen has a bit pattern to hide.
    let mut canonical = [0; 36];
    let mut seen = 0;
    for (to, from) in canonical.iter_mut().zip(digits) {
        *to = LOWER_HEX[usize::from(*from)];
        seen |= *to;
    }
    // Four hyphens are where they belong; a fifth would stand in the place of a digit.
    let hyphens = digits.iter().filter(|&&byte| byte == b'-').count();
    (seen < 0x80 && hyphens == HYPHENS.len()).then_some(canonical)
}

/// Lower case of a hexadecimal digit, a hyphen as it is, 0xFF for anything else.
const LOWER_HEX: [u8; 256] = {
    let mut table = [0xFF; 256];
    let mut byte = 0;
    while byte < 256 {
        if (byte as u8).is_ascii_hexdigit() {
            table[byte] = (byte as u8).to_ascii_lowercase();
        }
        byte += 1;
    }
    table[b'-' as usize] = b'-';
    table
};

/// The UUID that Python's `uuid.UUID()` would make of an id: with or without hyphens, wherever
/// they are, in braces, as a URN; escaped or not.
fn any_uuid(id: &[u8]) -> Option<u128> {
    const PREFIXES: [&[u8]; 4] = [b"urn:", b"urn%3A", b"uuid:", b"uuid%3A"];
    if id.len() < UUID_DIGITS {
        return None;
    }
    let mut rest = id;
    for prefix in PREFIXES {
        if let Some((head, tail)) = rest.split_at_checked(prefix.len())
            && head.eq_ignore_ascii_case(prefix)
        {
            rest = tail;
        }
    }
    let (mut bits, mut digits) = (0u128, 0);
    for &byte in rest {
        match (byte as char).to_digit(16) {
            Some(digit) => {
                bits = (bits << 4) | u128::from(digit);
                digits += 1;
            }
            None if matches!(byte, b'-' | b'{' | b'}') => {}
            None => return None,
        }
    }
    (digits == UUID_DIGITS).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UUID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

    fn key(id: &str) -> String {
        let mut out = Text::new();
        push_id(id.as_bytes(), &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn tag(text: &str) -> String {
        let mut out = Text::new();
        push_tag(text.as_bytes(), &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(key("a:b*c?d[e]f%g\0h"), "a%3Ab%2Ac%3Fd%5Be%5Df%25g%00h");
        assert_eq!(key("näh 😀"), "näh 😀");
    }

    #[test]
    fn every_spelling_of_a_uuid_is_one_key() {
        for spelling in [
            UUID.to_owned(),
            UUID.to_uppercase(),
            format!("{{{UUID}}}"),
            format!("urn:uuid:{UUID}"),
            format!("URN:UUID:{}", UUID.to_uppercase()),
        ] {
            assert_eq!(key(&spelling), UUID, "{spelling}");
        }
        let mut out = Text::new();
        push_uuid(0x0f8f_ad5b_d9cb_469f_a165_7086_7728_950e, &mut out);
        assert_eq!(out.as_slice(), UUID.as_bytes());
    }

    #[test]
    fn tags_also_merge_a_uuid_without_hyphens() {
        assert_eq!(tag(&format!("user:{}", UUID.replace('-', ""))), format!("user:{UUID}"));
        assert_eq!(tag(&format!("user:{}", UUID.to_uppercase())), format!("user:{UUID}"));
        for spelling in ["{%}", "urn:uuid:%", "URN:UUID:{%}", "uuid:%"] {
            let bare = spelling.replace('%', &UUID.replace('-', ""));
            assert_eq!(tag(&format!("user:{bare}")), format!("user:{UUID}"), "{bare}");
        }
        assert_eq!(tag(&format!("a:{}:7", UUID.to_uppercase())), format!("a:{UUID}%3A7"));
        assert_eq!(tag("user:a:b"), "user:a%3Ab");
        assert_eq!(tag("auth"), "auth");
    }

    #[test]
    fn what_only_looks_like_a_uuid_stays_as_it_is() {
        assert_eq!(
            key("0f8fad5b_d9cb-469f-a165-70867728950e"),
            "0f8fad5b_d9cb-469f-a165-70867728950e"
        );
        assert_eq!(
            tag("user:+f8fad5bd9cb469fa16570867728950e"),
            "user:+f8fad5bd9cb469fa16570867728950e"
        );
    }

    proptest! {
        #[test]
        fn plain_ids_stand_in_a_key_as_they_are(id in "[-_.a-fA-F0-9:*?{}%@\\x00é]{0,40}") {
            if is_plain(id.as_bytes()) {
                let mut out = Text::new();
                push_escaped(id.as_bytes(), &mut out);
                prop_assert_eq!(out.as_slice(), id.as_bytes());
                prop_assert!(canonical_uuid(id.as_bytes()).is_none_or(|uuid| uuid == id.as_bytes()));
            }
        }

        #[test]
        fn different_ids_stay_different(a in "\\PC{0,12}", b in "[:*?%\\[\\]a\\x00]{0,12}") {
            prop_assert_eq!(key(&a) == key(&b), a == b);
        }

        #[test]
        fn escaped_ids_hold_nothing_special(id in "[:*?%\\[\\]a-c\\x00-\\x1f]{0,20}") {
            prop_assert!(!key(&id).contains([':', '*', '?', '[', ']', '\0']));
        }
    }
}
