//! What the scripts return. `None`: something no script of ours would.

use super::super::{Appended, Batch, Entry, Host, Poll, Sequence};
use ::redis::Value;

/// What `poll.lua` returns. What is missing among the entries is there without a body, which
/// means "everything".
pub(super) fn batch(answer: Value, poll: &Poll<'_>) -> Option<Batch> {
    let [generation, last, first, ended, entries] = array(answer)?;
    let last: Sequence = text(last)?.parse().ok()?;
    let first = match text(first)?.as_str() {
        "" => last.checked_add(1)?,
        first => first.parse().ok()?,
    };
    let mut batch = Batch { generation: text(generation)?, first, last, entries: Vec::new() };
    let next = poll.after.saturating_add(1).max(first);
    let mut filling = Filling { next, most: poll.max_entries, entries: &mut batch.entries };
    let mut strange = false;
    let Value::Array(entries) = entries else { return None };
    if entries.len() % 2 != 0 {
        return None;
    }
    let mut entries = entries.into_iter();
    while let (Some(id), Some(body)) = (entries.next(), entries.next()) {
        let Value::BulkString(body) = body else { return None };
        match text(id)?.strip_suffix("-0").and_then(|sequence| sequence.parse().ok()) {
            Some(sequence) if sequence >= filling.next && sequence <= last => {
                filling.up_to(sequence);
                filling.push(body);
            }
            // Not by us, and with a number between two others. What it says is not known.
            _ => strange = true,
        }
    }
    if ended == Value::Int(1) {
        filling.up_to(last.saturating_add(1));
    }
    if strange {
        // Whoever writes such an id may have written others.
        batch.entries.iter_mut().for_each(|entry| entry.body.clear());
        if batch.entries.is_empty() {
            return None;
        }
    }
    Some(batch)
}

/// Entries, one for each number.
struct Filling<'a> {
    next: Sequence,
    most: usize,
    entries: &'a mut Vec<Entry>,
}

impl Filling<'_> {
    fn push(&mut self, body: Vec<u8>) {
        if self.entries.len() < self.most {
            self.entries.push(Entry { sequence: self.next, body });
            self.next += 1;
        }
    }

    fn up_to(&mut self, sequence: Sequence) {
        while self.next < sequence && self.entries.len() < self.most {
            self.push(Vec::new());
        }
    }
}

/// What `append.lua` returns.
pub(super) fn appended(answer: Value) -> Option<Appended> {
    let [generation, sequence] = array(answer)?;
    Some(Appended { generation: text(generation)?, sequence: text(sequence)?.parse().ok()? })
}

/// What `hosts.lua` returns. A heartbeat that cannot be read is that of a host that has applied
/// nothing.
pub(super) fn hosts(answer: Value) -> Option<Vec<Host>> {
    let Value::Array(parts) = answer else { return None };
    if parts.len() % 2 != 0 {
        return None;
    }
    let mut parts = parts.into_iter();
    let mut hosts = Vec::new();
    while let (Some(name), Some(heartbeat)) = (parts.next(), parts.next()) {
        let (name, heartbeat) = (text(name)?, text(heartbeat)?);
        let (applied, generation) = heartbeat.split_once(' ').unwrap_or_default();
        let (applied, generation) = match applied.parse() {
            Ok(applied) => (applied, generation.to_owned()),
            Err(_) => (0, String::new()),
        };
        hosts.push(Host { name, generation, applied });
    }
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    Some(hosts)
}

fn array<const N: usize>(value: Value) -> Option<[Value; N]> {
    let Value::Array(values) = value else { return None };
    values.try_into().ok()
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn answer(last: &str, first: &str, ended: bool, entries: &[(&str, &str)]) -> Value {
        let entries = entries.iter().flat_map(|(id, body)| [bulk(id), bulk(body)]).collect();
        let ended = Value::Int(ended.into());
        Value::Array(vec![bulk("g"), bulk(last), bulk(first), ended, Value::Array(entries)])
    }

    fn read(after: Sequence, max_entries: usize, answer: Value) -> Vec<(Sequence, String)> {
        let poll = Poll { after, max_entries, heartbeat: None };
        let batch = batch(answer, &poll).unwrap();
        let shown = |entry: Entry| (entry.sequence, String::from_utf8(entry.body).unwrap());
        batch.entries.into_iter().map(shown).collect()
    }

    fn pairs(expected: &[(Sequence, &str)]) -> Vec<(Sequence, String)> {
        expected.iter().map(|(sequence, body)| (*sequence, (*body).to_owned())).collect()
    }

    #[test]
    fn what_is_missing_means_everything() {
        let middle = answer("4", "1", true, &[("1-0", "a"), ("4-0", "d")]);
        assert_eq!(read(0, 9, middle), pairs(&[(1, "a"), (2, ""), (3, ""), (4, "d")]));
        let end = answer("3", "1", true, &[("2-0", "b")]);
        assert_eq!(read(1, 9, end), pairs(&[(2, "b"), (3, "")]));
        let not_the_end = answer("3", "1", false, &[("2-0", "b")]);
        assert_eq!(read(1, 1, not_the_end), pairs(&[(2, "b")]));
        let too_many = answer("900", "1", true, &[("900-0", "z")]);
        assert_eq!(read(1, 3, too_many), pairs(&[(2, ""), (3, ""), (4, "")]));
    }

    #[test]
    fn what_was_trimmed_is_not_made_up() {
        let trimmed = answer("5", "4", true, &[("4-0", "d"), ("5-0", "e")]);
        assert_eq!(read(1, 9, trimmed), pairs(&[(4, "d"), (5, "e")]));
        let empty = answer("5", "", true, &[]);
        assert_eq!(read(1, 9, empty), pairs(&[]));
    }

    #[test]
    fn entries_with_ids_of_others_spoil_the_batch() {
        let between = answer("3", "1", true, &[("2-0", "b"), ("2-1", "x"), ("3-0", "c")]);
        assert_eq!(read(1, 9, between), pairs(&[(2, ""), (3, "")]));
        let beyond = answer("2", "1", true, &[("2-0", "b"), ("7-0", "x")]);
        assert_eq!(read(1, 9, beyond), pairs(&[(2, "")]));
        let alone = answer("2", "1", false, &[("1-7", "x")]);
        assert_eq!(batch(alone, &Poll { after: 1, max_entries: 1, heartbeat: None }), None);
    }

    #[test]
    fn other_answers_are_none() {
        let poll = Poll { after: 0, max_entries: 9, heartbeat: None };
        for other in [
            Value::Nil,
            Value::Okay,
            Value::Int(1),
            Value::Array(Vec::new()),
            Value::Array(vec![Value::Nil; 5]),
            answer("x", "1", true, &[]),
            answer("18446744073709551615", "", true, &[]),
        ] {
            assert_eq!(batch(other.clone(), &poll), None, "{other:?}");
            assert_eq!(appended(other), None);
        }
        for other in [Value::Nil, Value::Array(vec![bulk("a")]), Value::Array(vec![Value::Nil; 2])]
        {
            assert_eq!(hosts(other), None);
        }
    }
}
