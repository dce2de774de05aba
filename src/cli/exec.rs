//! A shell command for each message: `notify --exec`.

use std::fmt;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::topology::settings::GroupSettings;

use super::human;
use super::message::Shown;

/// The first wait before a message is delivered again after its command failed, in a group
/// without a back-off of its own; it doubles each time. Without any, a command that always
/// fails would be started again and again without a pause.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// The longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Starts `command` with the payload on its standard input.
///
/// # Errors
/// When the shell cannot be started.
pub fn start(command: &str, message: &Shown<'_>) -> io::Result<Child> {
    Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::piped())
        .env("TREECAST_ID", &message.id)
        .env("TREECAST_GROUP", message.group.as_str())
        .env("TREECAST_SUBJECT", message.subject.unwrap_or_default())
        .env("TREECAST_ATTEMPT", message.attempt.to_string())
        .env("TREECAST_ACCEPTED", human::timestamp(message.accepted))
        .kill_on_drop(true)
        .spawn()
}

/// Gives the payload to the command and waits for its end. A command that
/// does not read its input, or not all of it, is no fault.
///
/// # Errors
/// When the process cannot be waited for.
///
/// # Cancel safety
/// Dropping the future kills the command.
pub async fn finish(mut child: Child, payload: &[u8]) -> io::Result<ExitStatus> {
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(payload).await {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    child.wait().await
}

/// What becomes of a message whose command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Delivered again after the group's back-off: so many milliseconds.
    Backoff(u64),
    /// The group has no back-off; delivered again after this time.
    Wait(Duration),
    /// It was the last attempt: it goes to this group.
    DeadLetter(String),
    /// It was the last attempt, and no group takes it.
    Dropped,
}

impl Fate {
    /// What it is after so many attempts.
    #[must_use]
    pub fn after(attempt: u32, settings: &GroupSettings) -> Self {
        if settings.max_deliver.is_some_and(|max| attempt >= max) {
            return settings.dead_letter.clone().map_or(Self::Dropped, Self::DeadLetter);
        }
        let backoff = &settings.backoff_ms;
        let step = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        match backoff.get(step).or(backoff.last()) {
            Some(ms) => Self::Backoff(*ms),
            None => Self::Wait(retry_wait(attempt)),
        }
    }

    /// What the relay is told: zero leaves it to the group's settings.
    #[must_use]
    pub fn delay(&self) -> Duration {
        match self {
            Self::Wait(wait) => *wait,
            Self::Backoff(_) | Self::DeadLetter(_) | Self::Dropped => Duration::ZERO,
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backoff(ms) => write!(f, "again in {} at the earliest", human::millis(*ms)),
            Self::Wait(wait) => write!(f, "again in {} s at the earliest", wait.as_secs()),
            Self::DeadLetter(group) => write!(f, "it was the last attempt, it goes to {group}"),
            Self::Dropped => {
                f.write_str("it was the last attempt, it is dropped: the group has no dead-letter group")
            }
        }
    }
}

fn retry_wait(attempt: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1_u32 << attempt.saturating_sub(1).min(10)).min(RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{GroupName, Index, WallTime};

    async fn run(command: &str, payload: &[u8]) -> bool {
        let group = GroupName::new("g").unwrap();
        let message = Shown {
            group: &group,
            id: "r/1/2".to_owned(),
            index: Index(1),
            subject: Some("s"),
            headers: Vec::new(),
            attempt: 3,
            accepted: WallTime(0),
            payload,
        };
        finish(start(command, &message).unwrap(), payload).await.unwrap().success()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_command_sees_the_message() {
        assert!(run("test \"$(cat)\" = hello", b"hello").await);
        assert!(
            run("test $TREECAST_ID,$TREECAST_GROUP,$TREECAST_SUBJECT,$TREECAST_ATTEMPT = r/1/2,g,s,3", b"")
                .await
        );
        assert!(!run("exit 3", b"").await);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_command_need_not_read_its_input() {
        assert!(run("true", &vec![0; 1024 * 1024]).await);
    }

    #[test]
    fn the_groups_back_off_and_its_last_attempt_decide() {
        let own = GroupSettings::default();
        assert_eq!(Fate::after(3, &own), Fate::Wait(Duration::from_secs(4)));
        let mut settings =
            GroupSettings { backoff_ms: vec![300, 600], max_deliver: Some(4), ..GroupSettings::default() };
        let fates = [1, 2, 3, 4].map(|attempt| Fate::after(attempt, &settings));
        assert_eq!(fates, [Fate::Backoff(300), Fate::Backoff(600), Fate::Backoff(600), Fate::Dropped]);
        assert!(fates.iter().all(|fate| fate.delay().is_zero()), "the relay would take it for a wish");
        assert_eq!(fates[0].to_string(), "again in 300ms at the earliest");
        settings.dead_letter = Some("dead".to_owned());
        assert_eq!(Fate::after(4, &settings).to_string(), "it was the last attempt, it goes to dead");
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute() {
        assert_eq!(retry_wait(0), Duration::from_secs(1));
        assert_eq!(retry_wait(1), Duration::from_secs(1));
        assert_eq!(retry_wait(3), Duration::from_secs(4));
        assert_eq!(retry_wait(7), Duration::from_secs(60));
        assert_eq!(retry_wait(u32::MAX), Duration::from_secs(60));
    }
}
