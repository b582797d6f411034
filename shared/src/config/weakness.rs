//! Why a secret can be guessed. A made-up one gives itself away: it has a word in it, few characters, or a pattern. Whether
//! what is left was made at random nobody can see, so this refuses mistakes, not attackers.

/// 256 bits are 64 characters in hexadecimal and 43 in base64.
const MIN_LENGTH: usize = 32;
/// Fewer than any 32 random hexadecimal digits have.
const MIN_DIFFERENT_CHARACTERS: usize = 8;
/// What examples and placeholders are made of. Each is long enough never to turn up in a random text.
const WORDS: [&str; 10] = [
    "change",
    "default",
    "example",
    "flowlet",
    "insecure",
    "password",
    "placeholder",
    "qwerty",
    "replace",
    "secret",
];

/// What is wrong with a secret, without showing any of it.
pub fn weakness_of(secret: &str) -> Option<&'static str> {
    // The first and last line of a key in PEM are the same in every key.
    let lines = secret.lines().filter(|line| !line.starts_with("-----"));
    let text = lines.collect::<String>().to_ascii_lowercase();
    let bytes = text.as_bytes();
    if bytes.len() < MIN_LENGTH {
        Some("is shorter than 32 characters")
    } else if WORDS.iter().any(|word| text.contains(word)) {
        Some("has a word in it, as an example has")
    } else if different(bytes) < MIN_DIFFERENT_CHARACTERS {
        Some("has hardly any different characters")
    } else if repeats_itself(bytes) || counts_up_or_down(bytes) {
        Some("is a pattern")
    } else {
        None
    }
}

fn different(bytes: &[u8]) -> usize {
    bytes.iter().collect::<std::collections::BTreeSet<_>>().len()
}

/// Most characters are those of a fixed number of places before.
fn repeats_itself(bytes: &[u8]) -> bool {
    (1..=bytes.len() / 2).any(|period| {
        let pairs = bytes.iter().zip(bytes.iter().skip(period));
        let (all, same) = (
            bytes.len() - period,
            pairs.filter(|(one, later)| one == later).count(),
        );
        same * 5 > all * 3
    })
}

/// Most characters are next to the one before, as in `abcdef` and `987654`.
fn counts_up_or_down(bytes: &[u8]) -> bool {
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    let steps = pairs.filter(|(one, next)| one.abs_diff(**next) == 1).count();
    steps * 2 > bytes.len()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD_NO_PAD;

    use super::*;

    #[test]
    fn what_somebody_made_up_is_weak() {
        for (secret, weakness) in [
            ("c0ffee", "shorter"),
            ("correct horse battery staple", "shorter"),
            ("please-change-me-before-you-go-live", "word"),
            ("FLOWLET-demo-FLOWLET-demo-1234567890", "word"),
            ("your-256-bit-secret-your-256-bit-secret", "word"),
            (&"x".repeat(64), "different"),
            (&"01".repeat(32), "different"),
            ("0123456789abcdef0123456789abcdef", "pattern"),
            ("correct horse! correct horse! correct horse?", "pattern"),
            ("abcdefghijklmnopqrstuvwxyz9876543210", "pattern"),
            (
                "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-----END PRIVATE KEY-----\n",
                "pattern",
            ),
        ] {
            let found = weakness_of(secret);
            assert!(
                found.is_some_and(|text| text.contains(weakness)),
                "{secret}: {found:?}"
            );
        }
    }

    #[test]
    fn what_was_made_at_random_is_never_called_weak() {
        for _ in 0..3_000 {
            let mut bytes = [0; 32];
            aws_lc_rs::rand::fill(&mut bytes).unwrap();
            let hexadecimal =
                |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            for secret in [
                hexadecimal(&bytes),
                hexadecimal(&bytes[..16]),
                STANDARD_NO_PAD.encode(bytes),
            ] {
                assert_eq!(weakness_of(&secret), None, "{secret}");
            }
        }
    }
}
