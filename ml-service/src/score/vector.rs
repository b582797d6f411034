//! A feature vector as it is kept with a decision: exactly the numbers that the model saw, bit for bit, in few bytes.
//!
//! Most of them are zero, unknown or a small count: two bits tell which of these, or that all of the number follows.

use crate::feature::{COUNT, Vector, schema_hash};
use std::sync::LazyLock;

const SCHEMA_BYTES: usize = 4;
const TAG_BYTES: usize = COUNT.div_ceil(4);

const ZERO: u8 = 0;
const UNKNOWN: u8 = 1;
const SMALL: u8 = 2;
const WHOLE: u8 = 3;

/// The beginning of the hash of the features' names: numbers of other features are not taken for these.
static SCHEMA: LazyLock<[u8; SCHEMA_BYTES]> = LazyLock::new(|| {
    let hash = schema_hash();
    let mut bytes = [0; SCHEMA_BYTES];
    bytes.copy_from_slice(hash.as_bytes().first_chunk::<SCHEMA_BYTES>().unwrap_or(&[0; 4]));
    bytes
});

/// Zero or a count below 256, written as its byte. Minus zero is neither.
fn small(value: f64) -> Option<u8> {
    (0..=u8::MAX).find(|byte| f64::from(*byte).to_bits() == value.to_bits())
}

pub fn encode(vector: &Vector) -> Vec<u8> {
    let mut tags = [0_u8; TAG_BYTES];
    let mut numbers = Vec::with_capacity(COUNT * 4);
    for (place, value) in vector.0.iter().enumerate() {
        let tag = if value.to_bits() == f64::NAN.to_bits() {
            UNKNOWN
        } else if let Some(byte) = small(*value) {
            if byte == 0 {
                ZERO
            } else {
                numbers.push(byte);
                SMALL
            }
        } else {
            numbers.extend(value.to_le_bytes());
            WHOLE
        };
        if let Some(four) = tags.get_mut(place / 4) {
            *four |= tag << (2 * (place % 4));
        }
    }
    [SCHEMA.as_slice(), &tags, &numbers].concat()
}

/// Nothing if it is of other features.
pub fn decode(bytes: &[u8]) -> Option<Vector> {
    let rest = bytes.strip_prefix(SCHEMA.as_slice())?;
    let (tags, mut numbers) = rest.split_at_checked(TAG_BYTES)?;
    let mut values = [0.0; COUNT];
    for (place, value) in values.iter_mut().enumerate() {
        *value = match (tags.get(place / 4)? >> (2 * (place % 4))) & 3 {
            ZERO => 0.0,
            UNKNOWN => f64::NAN,
            SMALL => {
                let (byte, rest) = numbers.split_first()?;
                numbers = rest;
                f64::from(*byte)
            }
            _ => {
                let (bytes, rest) = numbers.split_first_chunk::<8>()?;
                numbers = rest;
                f64::from_le_bytes(*bytes)
            }
        };
    }
    numbers.is_empty().then_some(Vector(values))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_vector_is_read_again_bit_for_bit(
            values in prop::collection::vec(
                prop_oneof![any::<f64>(), Just(0.0), Just(-0.0), Just(f64::NAN), (0_u8..).prop_map(f64::from)],
                COUNT,
            ),
            cut in 0_usize..600,
        ) {
            let vector = Vector(values.try_into().unwrap());
            let bytes = encode(&vector);
            prop_assert!(decode(&bytes).unwrap().is_identical(&vector));
            if cut < bytes.len() {
                prop_assert!(decode(&bytes[..cut]).is_none());
            }
        }
    }

    #[test]
    fn what_is_mostly_unknown_is_short_and_another_schema_is_refused() {
        let bytes = encode(&Vector([f64::NAN; COUNT]));
        assert_eq!(bytes.len(), SCHEMA_BYTES + TAG_BYTES);
        let mut other = bytes;
        other[0] ^= 1;
        assert!(decode(&other).is_none());
    }
}
