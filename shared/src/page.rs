//! Keyset pages: `limit` and `after` in, `next_cursor` out, never an offset or a total.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// How many items a page has: 1 to 100, 20 unless told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(u8);

impl Limit {
    pub const MAX: Self = Self(100);

    pub fn get(self) -> usize {
        usize::from(self.0)
    }

    /// What to ask of the database: one more, which tells whether there is a next page.
    pub fn rows_to_load(self) -> i64 {
        i64::from(self.0) + 1
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(20)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)
            .ok()
            .filter(|number| (1..=100).contains(number));
        number
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("limit: expected a whole number from 1 to 100"))
    }
}

/// Where a page starts: after the row with this key. Opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor<K>(pub K);

impl<K: Serialize> fmt::Display for Cursor<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = serde_json::to_vec(&self.0).map_err(|_| fmt::Error)?;
        f.write_str(&URL_SAFE_NO_PAD.encode(key))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("after: expected the next_cursor of an earlier page")]
pub struct InvalidCursor;

impl<K: DeserializeOwned> FromStr for Cursor<K> {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|_| InvalidCursor)
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Cursor<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    pub data: Vec<T>,
    /// Pass it as `after` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// From the rows loaded for [`Limit::rows_to_load`], and the key that each row is ordered by.
    pub fn new<K: Serialize>(mut rows: Vec<T>, limit: Limit, key: impl Fn(&T) -> K) -> Self {
        let more = rows.len() > limit.get();
        rows.truncate(limit.get());
        let next_cursor = rows
            .last()
            .filter(|_| more)
            .map(|row| Cursor(key(row)).to_string());
        Self {
            data: rows,
            next_cursor,
        }
    }

    /// Where to go on when the search for more rows was given up before the end, unless the page is full anyway.
    pub fn or_go_on_after<K: Serialize>(mut self, key: Option<K>) -> Self {
        let go_on = || key.map(|key| Cursor(key).to_string());
        self.next_cursor = self.next_cursor.or_else(go_on);
        self
    }

    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page {
            data: self.data.into_iter().map(f).collect(),
            next_cursor: self.next_cursor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_cursor_only_when_there_is_more() {
        let limit = Limit(2);
        let page = Page::new(vec![5, 4, 3], limit, |number| *number);
        assert_eq!(page.data, [5, 4]);
        assert_eq!(
            page.next_cursor.unwrap().parse::<Cursor<i32>>().unwrap(),
            Cursor(4)
        );
        let last = || Page::new(vec![5, 4], limit, |number| *number);
        assert_eq!(last().next_cursor, None);
        assert_eq!(last().or_go_on_after(None::<i32>).next_cursor, None);
        let given_up = last().or_go_on_after(Some(1)).next_cursor.unwrap();
        assert_eq!(given_up.parse::<Cursor<i32>>().unwrap(), Cursor(1));
    }

    #[test]
    fn a_foreign_cursor_is_refused() {
        for text in ["", "x", "!!!", "eyJhIjoxfQ"] {
            assert!(text.parse::<Cursor<i32>>().is_err(), "{text}");
        }
    }
}
