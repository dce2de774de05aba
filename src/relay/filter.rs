//! Subject filters: levels separated by `/`, `+` for any one level, a last `#` for the rest.
//!
//! As in MQTT (version 5.0, section 4.7): `a/+/c` matches `a/b/c`; `a/#` matches
//! `a`, `a/b` and `a/b/c`. A message without a subject matches only `#`.

use std::fmt;

use crate::limits;

/// A checked filter.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Filter(Box<str>);

impl Filter {
    /// Checks `text`; the error says what is wrong with it.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a filter must not be empty; `#` matches everything".to_owned());
        }
        if text.len() > limits::SUBJECT_BYTES_MAX {
            return Err(format!(
                "the filter has {} bytes; at most {} are allowed",
                text.len(),
                limits::SUBJECT_BYTES_MAX
            ));
        }
        let levels: Vec<&str> = text.split('/').collect();
        for (i, level) in levels.iter().enumerate() {
            let wild = level.contains(['+', '#']);
            if wild && level.len() > 1 {
                return Err(format!(
                    "in the filter `{text}`, `{level}` mixes a wildcard with other characters"
                ));
            }
            if *level == "#" && i + 1 != levels.len() {
                return Err(format!("in the filter `{text}`, `#` is not the last level"));
            }
        }
        Ok(Self(text.into()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a message with this subject is wanted.
    pub(super) fn matches(&self, subject: Option<&str>) -> bool {
        let Some(subject) = subject else { return &*self.0 == "#" };
        let mut levels = subject.split('/');
        for wanted in self.0.split('/') {
            if wanted == "#" {
                return true;
            }
            if !levels.next().is_some_and(|level| wanted == "+" || wanted == level) {
                return false;
            }
        }
        levels.next().is_none()
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str, subject: &str) -> bool {
        Filter::new(filter).unwrap().matches(Some(subject))
    }

    #[test]
    fn wildcards_match_levels() {
        assert!(matches("a/b", "a/b"));
        assert!(!matches("a/b", "a/bc"));
        assert!(!matches("a/b", "a/b/c"));
        assert!(matches("a/+/c", "a/b/c"));
        assert!(!matches("a/+", "a/b/c"));
        assert!(!matches("a/+", "a"));
        assert!(matches("a/#", "a/b/c"));
        assert!(matches("a/#", "a"));
        assert!(matches("#", "anything/at/all"));
        assert!(Filter::new("#").unwrap().matches(None));
        assert!(!Filter::new("+").unwrap().matches(None));
    }

    #[test]
    fn wildcards_in_the_wrong_place_are_refused() {
        assert!(Filter::new("").is_err());
        assert!(Filter::new("a/#/b").is_err());
        assert!(Filter::new("a+/b").is_err());
    }
}
