//! One message inside a run's body, and walking over all of them.

use bytes::{BufMut, BytesMut};

use super::{Input, RECORD_FLAGS_KNOWN, RECORD_HEADERS, RECORD_SUBJECT, RECORD_TTL, RunError, check_length};
use crate::limits;

/// One message inside a body, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Record<'a> {
    /// Milliseconds after which it is of no use any more.
    pub ttl_ms: Option<u64>,
    /// The key inside the group that filters look at.
    pub subject: Option<&'a str>,
    /// Keys and values, still encoded; walk them with [`Record::headers`].
    pub headers: &'a [u8],
    /// What the publisher sent.
    pub payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// Appends the record to a body.
    ///
    /// # Panics
    /// When the record is 4 GiB or longer, which [`limits`] exclude.
    pub fn encode(&self, out: &mut BytesMut) {
        let subject_bytes = self.subject.map_or(0, |s| 2 + s.len());
        let headers_bytes = if self.headers.is_empty() { 0 } else { 4 + self.headers.len() };
        let ttl_bytes = if self.ttl_ms.is_some() { 8 } else { 0 };
        let length = 1 + ttl_bytes + subject_bytes + headers_bytes + self.payload.len();
        let flags = if self.ttl_ms.is_some() { RECORD_TTL } else { 0 }
            | if self.subject.is_some() { RECORD_SUBJECT } else { 0 }
            | if self.headers.is_empty() { 0 } else { RECORD_HEADERS };
        out.reserve(4 + length);
        out.put_u32_le(u32::try_from(length).expect("limits keep records below 4 GiB"));
        out.put_u8(flags);
        if let Some(ttl_ms) = self.ttl_ms {
            out.put_u64_le(ttl_ms);
        }
        if let Some(subject) = self.subject {
            out.put_u16_le(u16::try_from(subject.len()).expect("limits keep subjects short"));
            out.put_slice(subject.as_bytes());
        }
        if !self.headers.is_empty() {
            out.put_u32_le(u32::try_from(self.headers.len()).expect("limits keep headers short"));
            out.put_slice(self.headers);
        }
        out.put_slice(self.payload);
    }

    fn decode(bytes: &'a [u8]) -> Result<Self, RunError> {
        let mut input = Input(bytes);
        let flags = input.u8()?;
        if flags & !RECORD_FLAGS_KNOWN != 0 {
            return Err(RunError::Unknown(u16::from(flags)));
        }
        let ttl_ms = if flags & RECORD_TTL == 0 { None } else { Some(input.u64()?) };
        let subject = if flags & RECORD_SUBJECT == 0 {
            None
        } else {
            let length = usize::from(input.u16()?);
            check_length("subject", length, limits::SUBJECT_BYTES_MAX)?;
            Some(std::str::from_utf8(input.take(length)?).map_err(|_| RunError::Text)?)
        };
        let headers = if flags & RECORD_HEADERS == 0 {
            &[][..]
        } else {
            let length = input.u32()? as usize;
            check_length("headers", length, limits::HEADERS_BYTES_MAX)?;
            let headers = input.take(length)?;
            Headers(Input(headers)).try_for_each(|header| header.map(|_| ()))?;
            headers
        };
        Ok(Self { ttl_ms, subject, headers, payload: input.0 })
    }

    /// The headers, as key and value. What [`Records`] gave has been checked.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        Headers(Input(self.headers)).map_while(Result::ok)
    }

    /// Appends one header to encoded headers.
    ///
    /// # Panics
    /// When the key has 64 KiB or more or the value 4 GiB or more, which
    /// [`limits::HEADERS_BYTES_MAX`] excludes.
    pub fn encode_header(out: &mut BytesMut, key: &str, value: &[u8]) {
        out.put_u16_le(u16::try_from(key.len()).expect("limits keep keys short"));
        out.put_slice(key.as_bytes());
        out.put_u32_le(u32::try_from(value.len()).expect("limits keep values short"));
        out.put_slice(value);
    }
}

struct Headers<'a>(Input<'a>);

impl<'a> Headers<'a> {
    fn header(&mut self) -> Result<(&'a str, &'a [u8]), RunError> {
        let length = usize::from(self.0.u16()?);
        let key = std::str::from_utf8(self.0.take(length)?).map_err(|_| RunError::Text)?;
        let length = self.0.u32()? as usize;
        Ok((key, self.0.take(length)?))
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Result<(&'a str, &'a [u8]), RunError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.0.is_empty() {
            return None;
        }
        let header = self.header();
        if header.is_err() {
            self.0.0 = &[];
        }
        Some(header)
    }
}

/// Walks over the records of a body. Stops after the first fault.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// The records of `body`, from its beginning.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Bytes not walked over yet.
    #[must_use]
    pub fn rest(&self) -> usize {
        self.rest.len()
    }

    /// Walks over one record without looking into it.
    ///
    /// # Errors
    /// When it is cut off.
    pub fn pass(&mut self) -> Result<(), RunError> {
        self.raw().map(|_| ())
    }

    fn raw(&mut self) -> Result<&'a [u8], RunError> {
        let mut input = Input(self.rest);
        let length = input.u32()? as usize;
        let record = input.take(length)?;
        self.rest = input.0;
        Ok(record)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RunError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.raw().and_then(Record::decode);
        if record.is_err() {
            self.rest = &[];
        }
        Some(record)
    }
}
