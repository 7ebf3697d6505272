//! Wildcards over keys, in the syntax and with the results of Python's `fnmatch.fnmatchcase`.
//!
//! `*` is any text (`:` included), `?` one character, `[a-z]` one of a set, `[!a-z]` one not in
//! it. Case counts. The odd corners (an unclosed `[`, a range that runs backwards) follow
//! CPython's `fnmatch.translate`; a property test compares the two.
//!
//! Keys are UTF-8, or UTF-8 with lone surrogates encoded as three bytes each; a character is
//! one code point either way. Cost: `O(pattern)` for the usual shapes, `O(pattern * key)` at
//! worst, never exponential.

/// A compiled wildcard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    tokens: Vec<Token>,
}

/// What a wildcard amounts to; decides how it is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Every key there is.
    Everything,
    /// One key: the pattern has no wildcard.
    Key(Vec<u8>),
    /// All keys below a prefix, which is given without its closing `:`.
    Prefix(Vec<u8>),
    /// Anything else; keys must be compared one by one.
    Scattered,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    AnyChar,
    AnyText,
    OneOf { negated: bool, ranges: Vec<(u32, u32)> },
    Never,
}

impl Pattern {
    /// Compiles a wildcard. Every text is one, so this cannot fail.
    #[must_use]
    pub fn new(pattern: &[u8]) -> Self {
        let mut tokens = Vec::with_capacity(pattern.len());
        let mut rest = pattern;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b'*' if tokens.last() != Some(&Token::AnyText) => tokens.push(Token::AnyText),
                b'*' => {}
                b'?' => tokens.push(Token::AnyChar),
                b'[' => match set_end(after) {
                    Some(end) => {
                        push_set(&decode_all(&after[..end]), &mut tokens);
                        rest = &after[end + 1..];
                    }
                    None => tokens.push(Token::Byte(b'[')),
                },
                other => tokens.push(Token::Byte(other)),
            }
        }
        Self { tokens }
    }

    /// Whether the whole key fits the pattern.
    #[must_use]
    pub fn matches(&self, key: &[u8]) -> bool {
        // Greedy with one point of return: only the last `*` ever needs to take more.
        let (mut token, mut at) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let step = match self.tokens.get(token) {
                Some(Token::AnyText) => {
                    retry = Some((token + 1, at));
                    token += 1;
                    continue;
                }
                Some(Token::Byte(byte)) => (key.get(at) == Some(byte)).then_some(1),
                Some(Token::AnyChar) => decode(&key[at..]).map(|(_, len)| len),
                Some(Token::OneOf { negated, ranges }) => decode(&key[at..])
                    .filter(|(char, _)| {
                        ranges.iter().any(|r| r.0 <= *char && *char <= r.1) != *negated
                    })
                    .map(|(_, len)| len),
                Some(Token::Never) => None,
                None if at == key.len() => return true,
                None => None,
            };
            match (step, retry) {
                (Some(len), _) => {
                    token += 1;
                    at += len;
                }
                (None, Some((after_star, from))) if from < key.len() => {
                    // Whole characters, so that `?` never starts inside one.
                    let next = from + decode(&key[from..]).map_or(1, |(_, len)| len);
                    retry = Some((after_star, next));
                    (token, at) = (after_star, next);
                }
                _ => return false,
            }
        }
    }

    /// What this wildcard amounts to.
    #[must_use]
    pub fn reach(&self) -> Reach {
        let (last, head) = match self.tokens.split_last() {
            Some((Token::AnyText, [])) => return Reach::Everything,
            Some((last, head)) => (last, head),
            None => return Reach::Key(Vec::new()),
        };
        let literal: Option<Vec<u8>> = head
            .iter()
            .map(|token| if let Token::Byte(byte) = token { Some(*byte) } else { None })
            .collect();
        match (literal, last) {
            (Some(mut key), Token::Byte(byte)) => {
                key.push(*byte);
                Reach::Key(key)
            }
            (Some(mut prefix), Token::AnyText) if prefix.last() == Some(&b':') => {
                prefix.pop();
                Reach::Prefix(prefix)
            }
            _ => Reach::Scattered,
        }
    }
}

/// Where the `]` is that closes a set, counted from after its `[`. A `]` that comes first, or
/// first after `!`, belongs to the set.
fn set_end(after: &[u8]) -> Option<usize> {
    let mut skip = usize::from(after.first() == Some(&b'!'));
    skip += usize::from(after.get(skip) == Some(&b']'));
    after.iter().skip(skip).position(|&byte| byte == b']').map(|found| found + skip)
}

/// Translates the inside of `[...]`. The chunks are what CPython's `fnmatch.translate` calls so:
/// the text cut at every `-` that makes a range.
fn push_set(inside: &[u32], tokens: &mut Vec<Token>) {
    const DASH: u32 = b'-' as u32;
    const BANG: u32 = b'!' as u32;
    let mut chunks: Vec<Vec<u32>> = Vec::new();
    let mut start = 0;
    let mut search = 1 + usize::from(inside.first() == Some(&BANG));
    while let Some(found) = inside.iter().skip(search).position(|&c| c == DASH) {
        let dash = search + found;
        chunks.push(inside[start..dash].to_vec());
        start = dash + 1;
        search = dash + 3;
    }
    match (chunks.last_mut(), &inside[start..]) {
        (Some(last), []) => last.push(DASH),
        (_, tail) => chunks.push(tail.to_vec()),
    }
    // A range that runs backwards is empty: both of its ends vanish.
    for k in (1..chunks.len()).rev() {
        if chunks[k - 1].last() > chunks[k].first() {
            let tail = chunks.remove(k);
            chunks[k - 1].pop();
            chunks[k - 1].extend_from_slice(tail.get(1..).unwrap_or_default());
        }
    }
    if chunks.len() == 1 && chunks[0].is_empty() {
        return tokens.push(Token::Never);
    }
    if chunks.len() == 1 && chunks[0] == [BANG] {
        return tokens.push(Token::AnyChar);
    }
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for pair in chunks.windows(2) {
        if let (Some(&low), Some(&high)) = (pair[0].last(), pair[1].first()) {
            ranges.push((low, high));
        }
    }
    let negated = chunks[0].first() == Some(&BANG);
    if negated {
        chunks[0].remove(0);
    }
    ranges.extend(chunks.iter().flatten().map(|&char| (char, char)));
    // `[*]` is how a wildcard is spelt literally; as plain bytes it can be a prefix or a key.
    if let (false, [(low, high)]) = (negated, ranges.as_slice())
        && low == high
        && let Ok(byte) = u8::try_from(*low)
        && byte.is_ascii()
    {
        return tokens.push(Token::Byte(byte));
    }
    tokens.push(Token::OneOf { negated, ranges });
}

fn decode_all(mut text: &[u8]) -> Vec<u32> {
    let mut chars = Vec::with_capacity(text.len());
    while let Some((char, len)) = decode(text) {
        chars.push(char);
        text = &text[len..];
    }
    chars
}

/// First code point and its length in bytes. Surrogates are code points here, which is why
/// `std::str` does not serve; a byte that starts nothing counts as one character.
fn decode(text: &[u8]) -> Option<(u32, usize)> {
    let &first = text.first()?;
    let len = match first {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => return Some((u32::from(first), 1)),
    };
    let Some(tail) = text.get(1..len) else { return Some((u32::from(first), 1)) };
    let lead = u32::from(first) & (0x7F >> len);
    Some((tail.iter().fold(lead, |char, &byte| (char << 6) | u32::from(byte & 0x3F)), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, key: &str) -> bool {
        Pattern::new(pattern.as_bytes()).matches(key.as_bytes())
    }

    #[test]
    fn wildcards_match_as_in_fnmatch() {
        for (pattern, key, wanted) in [
            ("auth:user:12345:*", "auth:user:12345:profile", true),
            ("auth:user:12345:*", "auth:user:123456:profile", false),
            ("a*b*c", "a--b--c", true),
            ("a*b*c", "a--b--d", false),
            ("?", "é", true),
            ("??", "é", false),
            ("[!a-c]x", "dx", true),
            ("[!a-c]x", "bx", false),
            ("[é-ü]", "ö", true),
            ("[", "[", true),
            ("[]]", "]", true),
            ("[!]]", "]", false),
            ("[z-a]", "m", false),
            ("[!z-a]", "m", true),
            ("[a-]", "-", true),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, key), wanted, "{pattern} on {key}");
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        assert!(!Pattern::new(b"*a*a*a*a*a*a*a*a*b").matches(&b"a".repeat(5000)));
    }

    #[test]
    fn reach_tells_what_a_slot_can_express() {
        let reach = |pattern: &str| Pattern::new(pattern.as_bytes()).reach();
        assert_eq!(reach("*"), Reach::Everything);
        assert_eq!(reach("**"), Reach::Everything);
        assert_eq!(reach("a:b"), Reach::Key(b"a:b".to_vec()));
        assert_eq!(reach("a:b:*"), Reach::Prefix(b"a:b".to_vec()));
        assert_eq!(reach("a:[*]:*"), Reach::Prefix(b"a:*".to_vec()));
        assert_eq!(reach("a:b*"), Reach::Scattered);
        assert_eq!(reach("a:*:b"), Reach::Scattered);
        assert_eq!(reach("a:?"), Reach::Scattered);
        assert_eq!(reach(""), Reach::Key(Vec::new()));
    }
}
