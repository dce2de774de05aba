//! Which subjects a filter lets through, as it is published: for the oracle, which does not ask a relay.

/// Whether a message with this subject is for a subscription with this filter.
pub(super) fn lets_through(filter: Option<&str>, subject: Option<&str>) -> bool {
    match (filter, subject) {
        (None | Some("#"), _) => true,
        (Some(_), None) => false,
        (Some(filter), Some(subject)) => {
            let [filter, subject] = [filter, subject].map(|text| text.split('/').collect::<Vec<_>>());
            levels_match(&filter, &subject)
        }
    }
}

fn levels_match(filter: &[&str], subject: &[&str]) -> bool {
    match (filter, subject) {
        (["#"], _) | ([], []) => true,
        ([], _) | (_, []) => false,
        ([wanted, filter @ ..], [level, subject @ ..]) => {
            (*wanted == "+" || wanted == level) && levels_match(filter, subject)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::lets_through;

    #[test]
    fn the_published_examples_hold() {
        let all = [
            ("a/+/c", "a/b/c", true),
            ("a/#", "a", true),
            ("a/#", "a/b", true),
            ("a/#", "a/b/c", true),
            ("a/+", "a", false),
            ("+", "a/b", false),
            ("a/b", "a/b/c", false),
        ];
        for (filter, subject, is_for_it) in all {
            assert_eq!(lets_through(Some(filter), Some(subject)), is_for_it, "{filter} {subject}");
        }
        assert!(lets_through(Some("#"), None) && !lets_through(Some("+"), None));
    }
}
