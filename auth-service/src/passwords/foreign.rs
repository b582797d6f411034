//! Hashes that other systems made: bcrypt, PBKDF2 and scrypt. They log their users in once; that login hashes the password
//! anew.
//!
//! A first login is slower or faster than those of others, so it can be told that the user was imported and has not logged in
//! since. Nothing else can be done with what is not hashed by us.

use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use pbkdf2::Pbkdf2;
use scrypt::Scrypt;

/// What a hash may cost: whoever can log in could otherwise keep a thread busy for minutes.
const MAX_BCRYPT_COST: u32 = 15;
const MAX_PBKDF2_ITERATIONS: u32 = 2_000_000;
const MAX_SCRYPT_LOG_N: u32 = 17;
const MAX_SCRYPT_BLOCKS: u32 = 16;
const MAX_SCRYPT_LANES: u32 = 4;

const MAX_LENGTH: usize = 512;

/// A hash of another system, in the form it is stored in: that of bcrypt, or the PHC string format.
pub fn parse(text: &str) -> Result<String, &'static str> {
    let text = from_django(text).unwrap_or_else(|| text.to_owned());
    if text.len() > MAX_LENGTH {
        return Err("the hash is too long");
    }
    if is_bcrypt(&text) {
        let parts: bcrypt::HashParts = text.parse().map_err(|_| "the bcrypt hash is malformed")?;
        return match parts.get_cost() <= MAX_BCRYPT_COST {
            true => Ok(text),
            false => Err("the bcrypt hash costs too much"),
        };
    }
    let hash = PasswordHash::new(&text).map_err(|_| "the hash is none that is known")?;
    let number = |name| hash.params.get_decimal(name).unwrap_or(u32::MAX);
    let affordable = match hash.algorithm.as_str() {
        "pbkdf2-sha256" | "pbkdf2-sha512" => number("i") <= MAX_PBKDF2_ITERATIONS,
        "scrypt" => {
            number("ln") <= MAX_SCRYPT_LOG_N
                && number("r") <= MAX_SCRYPT_BLOCKS
                && number("p") <= MAX_SCRYPT_LANES
        }
        // Argon2 needs nothing of this: it is checked like our own.
        "argon2id" | "argon2i" | "argon2d" => number("m") <= 262_144 && number("t") <= 16 && number("p") <= 8,
        _ => return Err("the hash is none that is known"),
    };
    match affordable && hash.salt.is_some() && hash.hash.is_some() {
        true => Ok(text),
        false => Err("the hash is incomplete or costs too much"),
    }
}

/// Whether the password matches; `None` when the hash is not foreign.
pub fn verify(password: &[u8], stored: &str) -> Option<anyhow::Result<bool>> {
    if is_bcrypt(stored) {
        return Some(bcrypt::verify(password, stored).map_err(Into::into));
    }
    let hash = PasswordHash::new(stored).ok()?;
    match hash.algorithm.as_str() {
        "pbkdf2-sha256" | "pbkdf2-sha512" => {
            Some(Ok(Pbkdf2::default().verify_password(password, &hash).is_ok()))
        }
        "scrypt" => Some(Ok(Scrypt::default().verify_password(password, &hash).is_ok())),
        _ => None,
    }
}

fn is_bcrypt(text: &str) -> bool {
    ["$2a$", "$2b$", "$2x$", "$2y$"]
        .iter()
        .any(|prefix| text.starts_with(prefix))
}

/// `pbkdf2_sha256$iterations$salt$hash`, whose salt is text.
fn from_django(text: &str) -> Option<String> {
    let mut parts = text.split('$');
    let [
        Some("pbkdf2_sha256"),
        Some(iterations),
        Some(salt),
        Some(hash),
        None,
    ] = [(); 5].map(|()| parts.next())
    else {
        return None;
    };
    let hash = STANDARD.decode(hash).ok()?;
    Some(format!(
        "$pbkdf2-sha256$i={iterations},l={}${}${}",
        hash.len(),
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(hash)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each from another implementation: that of the crate's documentation, Django's, passlib's.
    const BCRYPT: &str = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    const SCRYPT: &str =
        "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E";
    const PBKDF2: &str = "$pbkdf2-sha256$i=4096,l=40\
        $c2FsdFNBTFRzYWx0U0FMVHNhbHRTQUxUc2FsdFNBTFRzYWx0\
        $NIyJ28vTKy8y2BS4EW6EzysXNH68GAAYHE4qH7jdU+HGNVGMfaxH6Q";
    /// `hashlib.pbkdf2_hmac("sha256", b"password", b"seasalt2seasalt2", 4096)` of Python.
    const DJANGO: &str = "pbkdf2_sha256$4096$seasalt2seasalt2$vANCSywen1yyGz65EXPmLG3/rKjJu535h9Bpr31HQus=";

    #[test]
    fn a_hash_of_another_system_matches_its_password_only() {
        for (password, hash) in [
            ("U*U", BCRYPT),
            ("password", SCRYPT),
            ("passwordPASSWORDpassword", PBKDF2),
            ("password", DJANGO),
        ] {
            let stored = parse(hash).unwrap_or_else(|why| panic!("{hash}: {why}"));
            let verify = |password: &str| verify(password.as_bytes(), &stored).unwrap().unwrap();
            assert!(verify(password), "{hash}");
            assert!(!verify("another"), "{hash}");
        }
    }

    #[test]
    fn what_is_no_hash_or_too_dear_is_refused() {
        for wrong in [
            "",
            "plain password",
            "$2b$05$short",
            "$2b$16$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$scrypt$ln=30,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
            "$pbkdf2-sha256$i=900000000,l=32$c2FsdHNhbHRzYWx0$NIyJ28vTKy8y2BS4EW6EzysXNH68GAAYHE4qH7jdU+H",
            "$md5$c2FsdHNhbHRzYWx0$NIyJ28vTKy8y2BS4EW6Ezw",
            "pbkdf2_sha256$4096$salt$not base64",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
