//! A shell command for each message: `notify --exec`.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::human;
use super::message::Shown;

/// The first wait before a message is delivered again after its command failed; it doubles each time.
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

/// How long to wait before the next attempt.
#[must_use]
pub fn retry_wait(attempt: u32) -> Duration {
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
    fn the_wait_doubles_up_to_a_minute() {
        assert_eq!(retry_wait(0), Duration::from_secs(1));
        assert_eq!(retry_wait(1), Duration::from_secs(1));
        assert_eq!(retry_wait(3), Duration::from_secs(4));
        assert_eq!(retry_wait(7), Duration::from_secs(60));
        assert_eq!(retry_wait(u32::MAX), Duration::from_secs(60));
    }
}
