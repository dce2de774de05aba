//! How many lines are put before their answers are waited for.

use crate::client::Client;
use crate::id::GroupName;
use crate::wire::link::Quotas;

use super::ask;

/// Bytes that a message takes besides its payload, at most about: without headers and a subject.
const HEAD_BYTES: u64 = 32;

/// What goes together in a group with a quota: lines travel in batches, each of which is taken whole or not at
/// all, so a batch beyond the whole quota would never be.
#[derive(Debug, Default)]
pub(super) struct Portion {
    messages_max: Option<u64>,
    bytes_max: Option<u64>,
    messages: u64,
    bytes: u64,
}

impl Portion {
    /// That of a group. Without an answer there are no bounds: then the puts are told why.
    pub(super) async fn of(client: &Client, group: &GroupName) -> Self {
        let Ok(info) = ask::group(client, group).await else { return Self::default() };
        let (messages_max, bytes_max) = Quotas::of(&info.settings).most_at_once();
        Self { messages_max, bytes_max, ..Self::default() }
    }

    /// Takes one more message of so many bytes. False: it is the first of the next portion, and what went before
    /// is to be answered first.
    pub(super) fn takes(&mut self, bytes: u64) -> bool {
        let bytes = bytes.saturating_add(HEAD_BYTES);
        let is_over = |most: Option<u64>, sum: u64| most.is_some_and(|most| sum > most);
        let (messages, sum) = (self.messages + 1, self.bytes.saturating_add(bytes));
        let fits = !is_over(self.messages_max, messages) && !is_over(self.bytes_max, sum);
        (self.messages, self.bytes) = if fits { (messages, sum) } else { (1, bytes) };
        fits || messages == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many messages of these sizes go together.
    fn portions(mut portion: Portion, sizes: &[u64]) -> Vec<usize> {
        let mut all = vec![0];
        for bytes in sizes {
            if !portion.takes(*bytes) {
                all.push(0);
            }
            *all.last_mut().unwrap() += 1;
        }
        all
    }

    #[test]
    fn no_portion_is_more_than_the_quota_and_a_message_that_is_goes_alone() {
        let of = |messages_max, bytes_max| Portion { messages_max, bytes_max, ..Portion::default() };
        assert_eq!(portions(of(None, None), &[1; 9]), [9]);
        assert_eq!(portions(of(Some(4), None), &[1; 9]), [4, 4, 1]);
        assert_eq!(portions(of(Some(1), None), &[1; 3]), [1, 1, 1]);
        assert_eq!(portions(of(None, Some(3 * (HEAD_BYTES + 8))), &[8; 7]), [3, 3, 1]);
        assert_eq!(portions(of(None, Some(100)), &[500, 1, 1, 500, 1]), [1, 2, 1, 1]);
    }
}
