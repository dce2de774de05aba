//! Subscriptions of which the asked relay tells no more than where they live, and why.

use super::out::Context;
use crate::id::{GroupName, RelayId, SubscriptionName};
use crate::wire::body::Location;

/// Why nothing else can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its home cannot be reached now.
    Away,
    /// Its home was forgotten.
    Forgotten,
    /// It has a second home, and the name leads to this one.
    Twin(RelayId),
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silent {
    /// Where it lives.
    pub location: Location,
    /// Why nothing else is told.
    pub why: Why,
}

impl Silent {
    /// What the subscription is called.
    pub(super) fn name(&self) -> &str {
        self.location.subscription.as_ref().map_or("queue", SubscriptionName::as_str)
    }

    /// A word for programs, and words for people.
    pub(super) fn state(&self) -> (&'static str, &'static str) {
        match self.why {
            Why::Away => ("home-away", "home away"),
            Why::Forgotten => ("home-forgotten", "home forgotten"),
            Why::Twin(_) => ("second-home", "second home"),
        }
    }

    fn text(&self, group: &GroupName) -> String {
        let home = &self.location.home;
        let name = self.location.subscription.as_ref();
        let what = name.map_or_else(
            || format!("the backlog of {group}"),
            |name: &SubscriptionName| format!("{name} of {group}"),
        );
        match &self.why {
            Why::Away => format!("{what} lives at relay {home}, which cannot be reached now"),
            Why::Forgotten => format!(
                "{what} is lost: its home {home} was forgotten. Remove the queue, and make it again where it is to live"
            ),
            Why::Twin(other) => format!(
                "{what} lives at relay {home} too: both were made while the relays were apart, and are being made \
                 one. What is told is that of relay {other}; ask {home} itself, with --relay, for the other"
            ),
        }
    }
}

/// Tells all of them.
pub(super) fn warn(all: &[Silent], group: &GroupName, context: &Context) {
    all.iter().for_each(|silent| context.notes.warning(silent.text(group)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_home_is_told_as_what_it_is() {
        let group = GroupName::new("orders").unwrap();
        let location = Location {
            group: group.clone(),
            subscription: Some(SubscriptionName::new("billing").unwrap()),
            home: RelayId::new("oslo").unwrap(),
            forgotten: false,
            shared: None,
            filter: None,
        };
        let twin = Silent { location: location.clone(), why: Why::Twin(RelayId::new("bern").unwrap()) };
        let text = twin.text(&group);
        assert!(text.starts_with("billing of orders lives at relay oslo too: "), "{text}");
        assert!(text.contains("that of relay bern; ask oslo itself"), "{text}");
        let location = Location { subscription: None, ..location };
        let gone = Silent { location: location.clone(), why: Why::Forgotten };
        assert_eq!(
            gone.text(&group),
            "the backlog of orders is lost: its home oslo was forgotten. Remove the queue, and make it again where it is \
             to live"
        );
        let away = Silent { location, why: Why::Away };
        assert_eq!(
            away.text(&group),
            "the backlog of orders lives at relay oslo, which cannot be reached now"
        );
    }
}
