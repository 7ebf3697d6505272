//! A list of slots in few bytes.
//!
//! Numbers of slots have 18 bits, and an entry of the documented kinds depends on ten of them at
//! most. Ten fit into 23 bytes; longer lists lie elsewhere.

use super::basis::{Basis, Heritage};
use crate::invalidation::Slot;
use crate::invalidation::slots::{SLOT_COUNT, SlotList};

/// Bits of the number of a slot.
const SLOT_BITS: usize = SLOT_COUNT.ilog2() as usize;

/// Bytes of a short list: its slots, and in the upper half of the last byte how many there are.
const BYTES: usize = 23;

/// The slots of an entry. Complete with those of its key, or those of its tags alone.
#[derive(Debug, Clone)]
pub(super) enum PackedSlots {
    FewOfTags([u8; BYTES]),
    FewComplete([u8; BYTES]),
    ManyOfTags(Box<SlotList>),
    ManyComplete(Box<SlotList>),
    /// Complete, and what the entry inherits.
    Inheriting(Box<Heritage>),
}

impl Default for PackedSlots {
    fn default() -> Self {
        Self::FewOfTags([0; BYTES])
    }
}

impl PackedSlots {
    /// Longest list that lies here.
    pub(super) const FEW: usize = 10;

    #[inline]
    pub(super) fn new(slots: &[Slot], complete: bool) -> Self {
        if slots.is_empty() && !complete {
            return Self::default();
        }
        if slots.len() > Self::FEW {
            let many = Box::new(SlotList::from_slice(slots));
            return if complete { Self::ManyComplete(many) } else { Self::ManyOfTags(many) };
        }
        let mut bytes = [0; BYTES];
        for (at, &slot) in slots.iter().enumerate() {
            let (byte, shift) = place_of(at);
            let window = u32::from_le_bytes([bytes[byte], bytes[byte + 1], bytes[byte + 2], 0])
                | (slot << shift);
            bytes[byte..byte + 3].copy_from_slice(&window.to_le_bytes()[..3]);
        }
        bytes[BYTES - 1] |= (slots.len() as u8) << 4;
        if complete { Self::FewComplete(bytes) } else { Self::FewOfTags(bytes) }
    }

    /// Those of an entry, complete, that was made of others.
    #[cold]
    pub(super) fn inheriting(own: &[Slot], basis: &Basis) -> Self {
        Self::Inheriting(Box::new(Heritage::new(own, basis)))
    }

    /// Becomes the list that [`Self::new`] would make.
    #[inline]
    pub(super) fn replace(&mut self, slots: &[Slot], complete: bool) {
        // The usual case of an entry without tags that is set again: nothing to be written.
        let is_blank = matches!(self, Self::FewOfTags(bytes) if bytes[BYTES - 1] == 0);
        if !(is_blank && slots.is_empty() && !complete) {
            *self = Self::new(slots, complete);
        }
    }

    /// Whether the slots of the key are among them.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self, Self::FewComplete(_) | Self::ManyComplete(_) | Self::Inheriting(_))
    }

    /// What the entry inherits.
    pub(super) fn heritage(&self) -> Option<&Heritage> {
        match self {
            Self::Inheriting(heritage) => Some(heritage),
            _ => None,
        }
    }

    /// The slots of the entry itself.
    #[inline]
    pub(super) fn unpack(&self) -> SlotList {
        match self {
            Self::FewOfTags(bytes) | Self::FewComplete(bytes) => {
                let count = usize::from(bytes[BYTES - 1] >> 4);
                let slot = |at| {
                    let (byte, shift) = place_of(at);
                    let window =
                        u32::from_le_bytes([bytes[byte], bytes[byte + 1], bytes[byte + 2], 0]);
                    (window >> shift) & (SLOT_COUNT - 1)
                };
                (0..count).map(slot).collect()
            }
            Self::ManyOfTags(slots) | Self::ManyComplete(slots) => SlotList::clone(slots),
            Self::Inheriting(heritage) => heritage.own.clone(),
        }
    }
}

/// First of the three bytes a slot lies in, and the bit in it where it begins.
fn place_of(at: usize) -> (usize, usize) {
    (at * SLOT_BITS / 8, at * SLOT_BITS % 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            slots in prop::collection::vec(0..SLOT_COUNT, 0..30),
            complete in any::<bool>(),
        ) {
            let packed = PackedSlots::new(&slots, complete);
            prop_assert_eq!(packed.unpack().to_vec(), slots);
            prop_assert_eq!(packed.is_complete(), complete);
        }
    }

    #[test]
    fn what_is_inherited_is_kept_apart() {
        let basis = Basis { slots: vec![(3, 30)], ..Basis::default() };
        let packed = PackedSlots::inheriting(&[1, 2], &basis);
        assert_eq!(packed.unpack().as_slice(), [1, 2]);
        assert_eq!(*packed.heritage().unwrap().slots, [(3, 30)]);
        assert!(packed.is_complete());
        assert!(PackedSlots::new(&[1], true).heritage().is_none());
    }

    #[test]
    fn ten_slots_fit() {
        let slots = [SLOT_COUNT - 1; PackedSlots::FEW];
        assert!(matches!(PackedSlots::new(&slots, true), PackedSlots::FewComplete(_)));
        assert_eq!(size_of::<PackedSlots>(), 24);
    }
}
