//! What is probably meant by a filter that is written as for other programs.
//!
//! `*` and `?` are ordinary characters here: a filter with them matches only subjects that have
//! them. That is right, and seldom wanted.

use super::out::Context;
use super::subscription::SpecArgs;

impl SpecArgs {
    /// Tells when a filter has what is a wildcard elsewhere.
    pub(super) fn doubt_filter(&self, context: &Context) {
        if let Some(doubt) = self.filter.as_deref().and_then(doubt) {
            context.notes.warning(doubt);
        }
    }
}

fn doubt(filter: &str) -> Option<String> {
    let odd = filter.chars().find(|letter| matches!(letter, '*' | '?'))?;
    let levels: Vec<&str> = filter.split('/').collect();
    let is_whole = levels.iter().all(|level| !level.contains(['*', '?']) || matches!(*level, "*" | "**"));
    let advice = if is_whole {
        let above = levels.len() - 1;
        let plus = |level: &str| if matches!(level, "*" | "**") { "+".to_owned() } else { level.to_owned() };
        let one: Vec<String> = levels.iter().map(|level| plus(level)).collect();
        let one = one.join("/");
        let ends_so = levels.last().is_some_and(|last| matches!(*last, "*" | "**"));
        if ends_so {
            let before = &one[..one.len() - 1];
            let below = if above == 0 { "" } else { before };
            format!("did you mean `{one}` (one level) or `{below}#` (all that follow)?")
        } else {
            format!("did you mean `{one}`?")
        }
    } else {
        "`+` stands for one whole level and a last `#` for all that follow; nothing stands for a part of one"
            .to_owned()
    };
    Some(format!(
        "`{odd}` is an ordinary character in a filter: `{filter}` matches only subjects that have it; {advice}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_of_other_programs_are_doubted() {
        for fine in ["eu/+", "eu/#", "#", "eu/de/berlin"] {
            assert_eq!(doubt(fine), None);
        }
        for (filter, advice) in [
            ("eu/*", "did you mean `eu/+` (one level) or `eu/#` (all that follow)?"),
            ("*", "did you mean `+` (one level) or `#` (all that follow)?"),
            ("eu/**", "did you mean `eu/+` (one level) or `eu/#` (all that follow)?"),
            ("*/berlin", "did you mean `+/berlin`?"),
            ("eu/be*", "nothing stands for a part of one"),
            ("eu/?", "nothing stands for a part of one"),
        ] {
            let doubt = doubt(filter).unwrap();
            assert!(doubt.ends_with(advice), "{doubt}");
            assert!(doubt.contains(&format!("`{filter}` matches only subjects that have it")), "{doubt}");
        }
    }
}
