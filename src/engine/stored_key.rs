//! The key of an entry as the store keeps it.

/// What a store can keep a key as. The store works on the bytes; the type lets its user keep
/// something beside them, such as the object the bytes came from.
///
/// The bytes of one key never change.
pub trait StoredKey: for<'a> From<&'a [u8]> {
    /// The bytes.
    fn bytes(&self) -> &[u8];
}

impl StoredKey for Box<[u8]> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self
    }
}
