//! States as bytes: a version, then integers of seven bits a byte (LEB128), so that the many small and empty ones take one.

use super::{Pair, Profile, State};

/// Of what follows; another one is refused.
const VERSION: u8 = 1;
const PAIR: u8 = 0;
const PROFILE: u8 = 1;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("a state ends too early")]
    Truncated,
    #[error("a state has bytes that mean nothing")]
    Malformed,
    #[error("a state is of version {0}, which is not known here")]
    Version(u8),
}

impl State {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer(Vec::with_capacity(256));
        writer.0.push(VERSION);
        match self {
            Self::Pair(pair) => {
                writer.0.push(PAIR);
                pair.write(&mut writer);
            }
            Self::Profile(profile) => {
                writer.0.push(PROFILE);
                profile.write(&mut writer);
            }
        }
        writer.0
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader(bytes);
        let version = reader.byte()?;
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        let state = match reader.byte()? {
            PAIR => Self::Pair(Pair::read(&mut reader)?),
            PROFILE => Self::Profile(Box::new(Profile::read(&mut reader)?)),
            _ => return Err(DecodeError::Malformed),
        };
        if reader.0.is_empty() {
            Ok(state)
        } else {
            Err(DecodeError::Malformed)
        }
    }
}

pub struct Writer(Vec<u8>);

impl Writer {
    pub fn unsigned(&mut self, number: impl Into<u128>) {
        let mut rest: u128 = number.into();
        loop {
            let low = u8::try_from(rest & 0x7f).unwrap_or(0);
            rest >>= 7;
            if rest == 0 {
                return self.0.push(low);
            }
            self.0.push(low | 0x80);
        }
    }

    /// Small ones of either sign are short.
    pub fn signed(&mut self, number: i64) {
        self.unsigned(u128::from(number.unsigned_abs()) << 1 | u128::from(number < 0));
    }

    pub fn time(&mut self, time: Option<i64>) {
        self.unsigned(u8::from(time.is_some()));
        if let Some(time) = time {
            self.signed(time);
        }
    }
}

pub struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (byte, rest) = self.0.split_first().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(*byte)
    }

    pub fn unsigned<T: TryFrom<u128>>(&mut self) -> Result<T, DecodeError> {
        let mut number = 0_u128;
        for shift in (0..u128::BITS).step_by(7) {
            let byte = self.byte()?;
            let low = u128::from(byte & 0x7f);
            let shifted = low << shift;
            if shifted >> shift != low {
                return Err(DecodeError::Malformed);
            }
            number |= shifted;
            if byte & 0x80 == 0 {
                return T::try_from(number).map_err(|_| DecodeError::Malformed);
            }
        }
        Err(DecodeError::Malformed)
    }

    pub fn signed(&mut self) -> Result<i64, DecodeError> {
        let number: u128 = self.unsigned()?;
        let size = i64::try_from(number >> 1).map_err(|_| DecodeError::Malformed)?;
        Ok(if number & 1 == 1 { -size } else { size })
    }

    pub fn time(&mut self) -> Result<Option<i64>, DecodeError> {
        match self.unsigned::<u8>()? {
            0 => Ok(None),
            1 => Ok(Some(self.signed()?)),
            _ => Err(DecodeError::Malformed),
        }
    }
}
