//! What is known of a key, as bytes: the columns of a row, each with its length before it.
//!
//! The layout is that of a tuple in the binary form of PostgreSQL's COPY, so that what a server
//! sends need not be taken apart: the number of columns in 16 bits, then of each its length in 32
//! bits, -1 for NULL, and its bytes; all numbers big-endian. Only what is needed to find a key again
//! is looked at here.

use super::Digest;

/// Columns of a row.
const COLUMNS: usize = 19;

const ID: usize = 0;
const ORGANIZATION_ID: usize = 1;
const DIGEST: usize = 2;
const EXPIRES_AT: usize = 9;
const REVOKED_AT: usize = 10;
const IS_ACTIVE: usize = 11;

/// Bytes that are no rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these are no rows of API keys")]
pub struct NoRows;

/// A key as it was read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeyRow<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// Names the key.
    pub id: &'a [u8],
    /// Whose it is.
    pub organization_id: &'a [u8],
    /// What is stored of the key.
    pub digest: Digest,
    /// From when on it is not good any more, in seconds since 1970. Has always been, if it is
    /// revoked or switched off.
    pub ends_at: f64,
}

/// The rows of a block, one after the other. A row that is of no key is its id, if that is a text.
#[derive(Debug, Clone)]
pub struct KeyRows<'a> {
    left: &'a [u8],
}

impl<'a> KeyRows<'a> {
    /// The rows of a block.
    #[must_use]
    pub const fn new(block: &'a [u8]) -> Self {
        Self { left: block }
    }

    /// Bytes that were not looked at yet.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.left.len()
    }

    fn row(&mut self) -> Result<Result<KeyRow<'a>, &'a [u8]>, NoRows> {
        let whole = self.left;
        let (count, mut rest) = whole.split_first_chunk().ok_or(NoRows)?;
        if usize::from(u16::from_be_bytes(*count)) != COLUMNS {
            return Err(NoRows);
        }
        let mut columns = [None; COLUMNS];
        for column in &mut columns {
            let (length, after) = rest.split_first_chunk().ok_or(NoRows)?;
            rest = after;
            let length = i32::from_be_bytes(*length);
            if length != -1 {
                let length = usize::try_from(length).map_err(|_| NoRows)?;
                let (bytes, after) = rest.split_at_checked(length).ok_or(NoRows)?;
                (*column, rest) = (Some(bytes), after);
            }
        }
        self.left = rest;
        let bytes = whole.get(..whole.len() - rest.len()).unwrap_or_default();
        Ok(of_key(bytes, &columns).ok_or_else(|| columns[ID].unwrap_or_default()))
    }
}

fn of_key<'a>(bytes: &'a [u8], columns: &[Option<&'a [u8]>; COLUMNS]) -> Option<KeyRow<'a>> {
    let named = |at: usize| columns[at].filter(|name| !name.is_empty());
    let is_good = columns[REVOKED_AT].is_none() && columns[IS_ACTIVE]? == [1];
    let ends_at = match columns[EXPIRES_AT] {
        None => f64::INFINITY,
        Some(number) => f64::from_be_bytes(number.try_into().ok()?),
    };
    Some(KeyRow {
        bytes,
        id: named(ID)?,
        organization_id: named(ORGANIZATION_ID)?,
        digest: columns[DIGEST]?.try_into().ok()?,
        // A moment that is none would be later than every other.
        ends_at: if is_good && !ends_at.is_nan() { ends_at } else { f64::NEG_INFINITY },
    })
}

impl<'a> Iterator for KeyRows<'a> {
    type Item = Result<Result<KeyRow<'a>, &'a [u8]>, NoRows>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            return None;
        }
        let row = self.row();
        if row.is_err() {
            // Where the next one begins is not known.
            self.left = &[];
        }
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(columns: &[Option<Vec<u8>>]) -> Vec<u8> {
        let mut bytes = (columns.len() as u16).to_be_bytes().to_vec();
        for column in columns {
            match column {
                None => bytes.extend((-1i32).to_be_bytes()),
                Some(column) => {
                    bytes.extend((column.len() as i32).to_be_bytes());
                    bytes.extend(column);
                }
            }
        }
        bytes
    }

    fn key(id: &str, expires_at: Option<f64>) -> Vec<Option<Vec<u8>>> {
        let mut columns = vec![None; COLUMNS];
        columns[ID] = Some(id.into());
        columns[ORGANIZATION_ID] = Some("o".into());
        columns[DIGEST] = Some(vec![7; 32]);
        columns[EXPIRES_AT] = expires_at.map(|at| at.to_be_bytes().to_vec());
        columns[IS_ACTIVE] = Some(vec![1]);
        columns
    }

    #[test]
    fn rows_are_taken_apart_as_far_as_needed() {
        let block = [row(&key("a", None)), row(&key("b", Some(1.5)))].concat();
        let rows: Vec<_> = KeyRows::new(&block).map(|row| row.unwrap().unwrap()).collect();
        assert_eq!((rows[0].id, rows[1].id), (&b"a"[..], &b"b"[..]));
        assert_eq!((rows[0].ends_at, rows[1].ends_at), (f64::INFINITY, 1.5));
        assert_eq!(rows[0].digest, [7; 32]);
        assert_eq!([rows[0].bytes, rows[1].bytes].concat(), block);
    }

    #[test]
    fn a_row_of_no_key_is_passed_over_by_its_id() {
        let mut columns = key("a", None);
        columns[DIGEST] = Some(vec![7; 31]);
        let block = [row(&columns), row(&key("b", None))].concat();
        let mut rows = KeyRows::new(&block);
        assert_eq!(rows.next(), Some(Ok(Err(&b"a"[..]))));
        assert_eq!(rows.next().unwrap().unwrap().unwrap().id, b"b");
        assert_eq!(rows.next(), None);
    }

    #[test]
    fn what_is_not_good_has_always_been_over() {
        let ends_at = |columns: &[Option<Vec<u8>>]| {
            KeyRows::new(&row(columns)).next().unwrap().unwrap().unwrap().ends_at
        };
        let (mut revoked, mut off) = (key("a", None), key("a", None));
        revoked[REVOKED_AT] = Some(1e18f64.to_be_bytes().to_vec());
        off[IS_ACTIVE] = Some(vec![0]);
        for columns in [key("a", Some(f64::NAN)), revoked, off] {
            assert_eq!(ends_at(&columns), f64::NEG_INFINITY);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes: Vec<u8>) {
            let _ = KeyRows::new(&bytes).count();
        }

        #[test]
        fn what_is_cut_is_noticed(cut in 1usize..100) {
            let block = row(&key("a", Some(1.0)));
            prop_assume!(cut < block.len());
            prop_assert_eq!(KeyRows::new(&block[..cut]).next(), Some(Err(NoRows)));
        }
    }
}
