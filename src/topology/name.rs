//! The rules for names of relays, groups, queues and subscriptions.

/// Checks a name: `/`-separated levels, none of them empty, 1 to
/// [`NAME_BYTES_MAX`] bytes, no white space, no control characters, no `+` or `#` (they are the
/// wildcards of subject filters), no leading `$` (reserved).
///
/// # Errors
/// The first rule that is broken.
pub fn check_name(name: &str) -> Result<(), NameFault> {
    if name.is_empty() {
        return Err(NameFault::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameFault::TooLong { found: name.len() });
    }
    if name.starts_with('$') {
        return Err(NameFault::Reserved);
    }
    if let Some(found) = name.chars().find(|c| c.is_control() || c.is_whitespace() || matches!(c, '+' | '#'))
    {
        return Err(NameFault::BadCharacter { found });
    }
    if name.split('/').any(str::is_empty) {
        return Err(NameFault::EmptyLevel);
    }
    Ok(())
}

/// The rule that a name breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameFault {
    /// There are no characters.
    #[error("is empty, must be 1 to {NAME_BYTES_MAX} bytes")]
    Empty,
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error("is {found} bytes long, must be 1 to {NAME_BYTES_MAX} bytes")]
    TooLong {
        /// The length of the name in bytes.
        found: usize,
    },
    /// The first character is `$`.
    #[error("begins with '$', which is reserved")]
    Reserved,
    /// White space, a control character or a wildcard.
    #[error("contains {found:?}, must have no white space, control characters, '+' or '#'")]
    BadCharacter {
        /// The character that may not be there.
        found: char,
    },
    /// A `/` at the beginning, at the end or after another.
    #[error("has an empty level, must have text before and after every '/'")]
    EmptyLevel,
}

impl NameFault {
    /// A name near `name` that keeps the rules, when there is an obvious one.
    #[must_use]
    pub fn suggestion(&self, name: &str) -> Option<String> {
        let better = match self {
            Self::Reserved => name.trim_start_matches('$').to_owned(),
            Self::EmptyLevel => {
                name.split('/').filter(|level| !level.is_empty()).collect::<Vec<_>>().join("/")
            }
            Self::BadCharacter { found: ' ' } => name.replace(' ', "-"),
            Self::Empty | Self::TooLong { .. } | Self::BadCharacter { .. } => return None,
        };
        check_name(&better).is_ok().then(|| format!("did you mean {better:?}?"))
    }
}

/// The longest name in bytes, which is what MQTT clients and file systems take
/// as well.
pub const NAME_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_levels_are_right() {
        for name in ["a", "metrics/cpu", "größe/π", "a.b-c_d", &"x".repeat(NAME_BYTES_MAX), "a$", ".."] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn every_rule_is_told() {
        let cases = [
            ("", NameFault::Empty),
            (&"x".repeat(NAME_BYTES_MAX + 1), NameFault::TooLong { found: NAME_BYTES_MAX + 1 }),
            ("$sys", NameFault::Reserved),
            ("a+", NameFault::BadCharacter { found: '+' }),
            ("a/#", NameFault::BadCharacter { found: '#' }),
            ("a b", NameFault::BadCharacter { found: ' ' }),
            ("a\u{a0}b", NameFault::BadCharacter { found: '\u{a0}' }),
            ("a\nb", NameFault::BadCharacter { found: '\n' }),
            ("a\u{85}b", NameFault::BadCharacter { found: '\u{85}' }),
            ("/a", NameFault::EmptyLevel),
            ("a/", NameFault::EmptyLevel),
            ("a//b", NameFault::EmptyLevel),
        ];
        for (name, expected) in cases {
            assert_eq!(check_name(name), Err(expected), "{name:?}");
        }
    }

    #[test]
    fn an_obvious_correction_is_offered() {
        let suggestion = |name: &str| check_name(name).unwrap_err().suggestion(name);
        assert_eq!(suggestion("/a//b/"), Some("did you mean \"a/b\"?".to_owned()));
        assert_eq!(suggestion("$sys"), Some("did you mean \"sys\"?".to_owned()));
        assert_eq!(suggestion("new york"), Some("did you mean \"new-york\"?".to_owned()));
        assert_eq!(suggestion("/"), None);
        assert_eq!(suggestion("a#"), None);
    }
}
