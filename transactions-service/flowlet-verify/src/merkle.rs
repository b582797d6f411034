//! Merkle trees as RFC 6962 defines them (2.1): a leaf is hashed after a byte 0, two nodes after a byte 1.

use crate::Hash;

pub fn leaf_hash(bytes: &[u8]) -> Hash {
    Hash::of(&[&[0], bytes])
}

fn node_hash(left: Hash, right: Hash) -> Hash {
    Hash::of(&[&[1], &left.0, &right.0])
}

/// The root over `leaves`; of none, the hash of nothing.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(left_part(leaves.len()));
            node_hash(root(left), root(right))
        }
    }
}

/// The largest power of two below `count`, which is at least 2.
fn left_part(count: usize) -> usize {
    count.next_power_of_two() / 2
}

/// What the leaf at `index` is hashed with on the way to the root, its neighbour first; none if it is not there.
pub fn path(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    match leaves {
        [] => None,
        [_] => (index == 0).then(Vec::new),
        _ => {
            let middle = left_part(leaves.len());
            let (left, right) = leaves.split_at(middle);
            let (mut path, sibling) = match index.checked_sub(middle) {
                None => (path(left, index)?, root(right)),
                Some(index) => (path(right, index)?, root(left)),
            };
            path.push(sibling);
            Some(path)
        }
    }
}

/// The root that `path` leads to from the leaf at `index` of `count`; none if it has another length than such a path has.
pub fn root_of_path(leaf: Hash, index: u64, count: u64, path: &[Hash]) -> Option<Hash> {
    if index >= count {
        return None;
    }
    let Some((sibling, below)) = path.split_last() else {
        return (count == 1).then_some(leaf);
    };
    if count == 1 {
        return None;
    }
    let middle = count.checked_next_power_of_two()? / 2;
    match index.checked_sub(middle) {
        None => Some(node_hash(root_of_path(leaf, index, middle, below)?, *sibling)),
        Some(index) => {
            let right = root_of_path(leaf, index, count.checked_sub(middle)?, below)?;
            Some(node_hash(*sibling, right))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inputs and roots that certificate-transparency's own tests use.
    const INPUTS: [&[u8]; 8] = [
        b"",
        &[0x00],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[
            0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f,
        ],
    ];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn roots_are_those_of_the_standard() {
        let leaves: Vec<Hash> = INPUTS.iter().map(|input| leaf_hash(input)).collect();
        for (count, expected) in ROOTS.iter().enumerate() {
            assert_eq!(root(&leaves[..count]).to_string(), *expected, "{count}");
        }
    }

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count)
            .map(|number| leaf_hash(&number.to_be_bytes()))
            .collect()
    }

    #[test]
    fn each_leaf_of_each_tree_leads_to_its_root_and_no_other_leaf_does() {
        for count in 1..=100 {
            let leaves = leaves(count);
            let top = root(&leaves);
            for (place, leaf) in leaves.iter().enumerate() {
                let index = u64::try_from(place).unwrap();
                let path = path(&leaves, place).unwrap();
                assert_eq!(root_of_path(*leaf, index, count, &path), Some(top));
                let other = leaf_hash(b"other");
                assert_ne!(root_of_path(other, index, count, &path), Some(top));
                for wrong in (0..count).filter(|wrong| *wrong != index) {
                    assert_ne!(
                        root_of_path(*leaf, wrong, count, &path),
                        Some(top),
                        "{count} {index}"
                    );
                }
            }
            assert_eq!(path(&leaves, leaves.len()), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_path_that_is_altered_leads_elsewhere(count in 2_u64..400, index in 0_u64..400, step in 0_usize..9, bit in 0_u8..8) {
            proptest::prop_assume!(index < count);
            let leaves = leaves(count);
            let mut path = path(&leaves, usize::try_from(index).unwrap()).unwrap();
            let leaf = leaves[usize::try_from(index).unwrap()];
            let step = step % path.len();
            path[step].0[0] ^= 1 << bit;
            proptest::prop_assert_ne!(root_of_path(leaf, index, count, &path), Some(root(&leaves)));
            path.pop();
            proptest::prop_assert_ne!(root_of_path(leaf, index, count, &path), Some(root(&leaves)));
            path.extend([Hash::ZERO; 2]);
            proptest::prop_assert_eq!(root_of_path(leaf, index, count, &path), None);
        }
    }
}
