//! Large values as fewer bytes.
//!
//! LZ4 block format (through `lz4_flex`, safe Rust only) with the length in front. Kept only
//! where it saves at least a quarter: a value that does not shrink would pay for being unpacked
//! at every hit and give nothing back.

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use std::cell::RefCell;
use thiserror::Error;

/// Compressed bytes that do not unpack. Cannot come from outside: they never leave the process.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("stored value does not unpack")]
pub struct UnpackError;

/// Largest working space a thread keeps.
const MOST_KEPT: usize = 1 << 20;

/// What compressing needs besides its input. Kept, because large blocks that come and go between
/// small ones that stay leave holes in the heap, several times as large as what is stored.
#[derive(Default)]
struct WorkingSpace {
    table: CompressTable,
    out: Vec<u8>,
}

/// Compresses `plain` if that saves at least a quarter of `bytes_now`, the bytes the value takes
/// in memory as it is.
#[must_use]
pub fn pack(plain: &[u8], bytes_now: usize) -> Option<Box<[u8]>> {
    thread_local!(static SPACE: RefCell<WorkingSpace> = RefCell::default());
    SPACE.with_borrow_mut(|space| {
        let length = u32::try_from(plain.len()).ok()?.to_le_bytes();
        let most = length.len() + get_maximum_output_size(plain.len());
        if space.out.len() < most {
            space.out.resize(most, 0);
        }
        let (head, body) = space.out.split_at_mut(length.len());
        head.copy_from_slice(&length);
        let packed = compress_into_with_table(plain, body, &mut space.table).ok()?;
        let packed = length.len() + packed;
        let kept = (packed <= bytes_now / 4 * 3).then(|| space.out[..packed].into());
        space.out.truncate(MOST_KEPT);
        space.out.shrink_to(MOST_KEPT);
        kept
    })
}

/// Undoes [`pack`].
///
/// # Errors
/// The bytes are not what `pack` made.
pub fn unpack(packed: &[u8]) -> Result<Vec<u8>, UnpackError> {
    lz4_flex::decompress_size_prepended(packed).map_err(|_| UnpackError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(4096)
        .collect();
        assert!(pack(&noise, noise.len()).is_none());
        assert!(pack(&[7; 4096], 4096).is_some());
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let mut packed = pack(&[7; 4096], 4096).unwrap().into_vec();
        packed.truncate(3);
        assert_eq!(unpack(&packed), Err(UnpackError));
    }

    proptest! {
        #[test]
        fn unpacking_gives_back_what_was_packed(plain in prop::collection::vec(any::<u8>(), 0..2000)) {
            if let Some(packed) = pack(&plain, usize::MAX) {
                prop_assert_eq!(unpack(&packed).unwrap(), plain);
            }
        }
    }
}
