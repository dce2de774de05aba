//! The public key of a relay as it stands in the file.

use std::fmt;

/// An Ed25519 public key, written `ed25519:` and 32 bytes in base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; PublicKey::BYTES]);

impl PublicKey {
    /// The length of a key in bytes.
    pub const BYTES: usize = 32;

    /// Reads a key. The padding `=` may be left out.
    ///
    /// # Errors
    /// What was wrong with the text. Whether the bytes are a point on the curve
    /// is not checked here.
    pub fn parse(text: &str) -> Result<Self, KeyFault> {
        let encoded = text.strip_prefix(PREFIX).ok_or(KeyFault::NoPrefix)?;
        let letters = encoded.trim_end_matches('=');
        if let Some(found) = letters.chars().find(|letter| sextet(*letter).is_none()) {
            return Err(KeyFault::BadLetter { found });
        }
        if letters.len() != LETTERS {
            return Err(KeyFault::BadLength { found: letters.len() * 6 / 8 });
        }
        if encoded.len() > LETTERS + 1 {
            return Err(KeyFault::BadEnd);
        }
        let mut bytes = [0; Self::BYTES];
        let (mut pending, mut bits) = (0_u32, 0_u32);
        let mut places = bytes.iter_mut();
        for value in letters.chars().filter_map(sextet) {
            pending = (pending << 6 | value) & 0xffff;
            bits += 6;
            if bits >= 8 {
                bits -= 8;
                if let Some(place) = places.next() {
                    *place = (pending >> bits & 0xff) as u8;
                }
            }
        }
        // One key has one text: the bits that no byte takes are zero.
        if pending & ((1 << bits) - 1) != 0 {
            return Err(KeyFault::BadEnd);
        }
        Ok(Self(bytes))
    }

    /// The key itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        for chunk in self.0.chunks(3) {
            let mut group = 0_u32;
            for place in 0..3 {
                group = group << 8 | u32::from(chunk.get(place).copied().unwrap_or(0));
            }
            for place in 0..=chunk.len() {
                let index = (group >> (18 - 6 * place) & 0x3f) as usize;
                f.write_str(&ALPHABET[index..=index])?;
            }
        }
        f.write_str("=")
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// Why a public key cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// It does not begin with `ed25519:`.
    #[error("does not begin with \"ed25519:\"")]
    NoPrefix,
    /// A letter that base64 does not have.
    #[error("contains {found:?}, must be base64")]
    BadLetter {
        /// The letter that may not be there.
        found: char,
    },
    /// Too few or too many bytes.
    #[error("holds {found} bytes, must hold 32")]
    BadLength {
        /// The number of bytes in the text.
        found: usize,
    },
    /// The last letter has bits that belong to no byte, or there is too much
    /// padding.
    #[error("has a wrong end, it was probably cut or mistyped")]
    BadEnd,
}

const PREFIX: &str = "ed25519:";
const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// 32 bytes in base64 without padding.
const LETTERS: usize = 43;

/// The six bits that a base64 letter stands for.
fn sextet(letter: char) -> Option<u32> {
    ALPHABET.find(letter).and_then(|at| u32::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_as_they_were() {
        for seed in [0_u8, 1, 77, 255] {
            let mut bytes = [seed; PublicKey::BYTES];
            bytes[31] = bytes[31].wrapping_mul(31).wrapping_add(7);
            let key = PublicKey(bytes);
            assert_eq!(PublicKey::parse(&key.to_string()), Ok(key));
            assert_eq!(PublicKey::parse(key.to_string().trim_end_matches('=')), Ok(key));
        }
    }

    #[test]
    fn a_known_key_is_read() {
        let text = "ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let key = PublicKey::parse(text).unwrap();
        assert_eq!(key.as_bytes().to_vec(), (0..32).collect::<Vec<u8>>());
        assert_eq!(key.to_string(), text);
    }

    #[test]
    fn wrong_keys_are_told() {
        let cases = [
            ("rsa:AAAA", KeyFault::NoPrefix),
            ("ed25519:AA-A", KeyFault::BadLetter { found: '-' }),
            ("ed25519:AAAA", KeyFault::BadLength { found: 3 }),
            ("ed25519:", KeyFault::BadLength { found: 0 }),
            ("ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=", KeyFault::BadEnd),
            ("ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8==", KeyFault::BadEnd),
            ("ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==", KeyFault::BadLength { found: 31 }),
        ];
        for (text, expected) in cases {
            assert_eq!(PublicKey::parse(text), Err(expected), "{text}");
        }
    }
}
