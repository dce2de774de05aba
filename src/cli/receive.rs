//! `treecast get`, `poll` and `notify`: messages out of a subscription or queue.
//!
//! A message is acked only when whoever reads our output has it: what is
//! printed is flushed first, and a command must have ended well.

use std::pin::pin;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use crate::client::{Batch, Client, ClientError, Gap, Received, Subscriber, SubscriberOptions};
use crate::id::{GroupName, SubscriptionName};
use crate::limits;
use crate::wire::body::{Refusal, RefusalCode};

use super::ask::{self, until, until_taken};
use super::exec::{self, Fate};
use super::exit::{Exit, Failure};
use super::leave::{leave, unless_sent_away};
use super::message::{self, FormatArgs, Shown};
use super::out::Context;
use super::stop::Stop;
use super::subscription::SpecArgs;
use super::values::{self, Millis};
use super::watch::Watch;

/// Messages taken at a time where no number is given: enough that the cost of
/// a write and an ack vanishes.
const BATCH: usize = 256;

/// How long one who does not wait tries to reach the home of a subscription: what is lost in a moment's
/// re-routing comes back within it.
const ATTACH_WAIT: Duration = Duration::from_secs(2);

/// How long the relay has for the acks of one who does not wait, or is to end.
const LEAVE_WAIT: Duration = Duration::from_secs(5);

/// How often the relay is told that a command is still at work: well within any sensible wait for an ack.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// From where messages are taken.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// The group or queue
    pub group: GroupName,
    /// The durable subscription; made here when it exists nowhere. A queue needs none
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<SubscriptionName>,
    /// Do not make the subscription: it must exist
    #[arg(long)]
    pub existing: bool,
    /// How payloads are written.
    #[command(flatten)]
    pub format: FormatArgs,
    /// How it is made. Last, since its heading holds for all that follows.
    #[command(flatten, next_help_heading = "When the subscription is made")]
    pub spec: SpecArgs,
}

/// Arguments of `get`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  treecast get news --as me\n  treecast get news --as me -n 10 --wait 30s\n  \
    treecast get jobs --output json\n\n\
    Each message is acked after it was written. Exit code 124: --wait was over first; 69: and the\n\
    relay was away by then, of which standard error tells; 75: and the home of the subscription was.\n\
    A subscription that is not shared has one receiver: this one takes over from another that runs."
)]
pub struct GetArgs {
    /// How many messages
    #[arg(short = 'n', long, value_name = "N", default_value = "1", value_parser = values::positive)]
    pub count: u64,
    /// Wait at most so long for all of them, connecting included [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = values::millis)]
    pub wait: Option<Millis>,
    /// From where.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Arguments of `poll`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  treecast poll news --as me || echo 'nothing new'\n  \
    treecast poll jobs -n 100 --output json\n\n\
    Each message is acked after it was written. Exit code 3: nothing was there.\n\
    A subscription that is not shared has one receiver: this one takes over from another that\n\
    runs, which ends; --shared lets them compete.")]
pub struct PollArgs {
    /// At most so many messages
    #[arg(short = 'n', long, value_name = "N", default_value = "1", value_parser = values::positive)]
    pub count: u64,
    /// From where.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Arguments of `notify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  treecast notify news --as me\n  \
    treecast notify jobs --exec 'convert - out/$TREECAST_ID.png'\n\n\
    CMD is run by `sh -c` for one message at a time, with the payload on its standard input and\n\
    TREECAST_ID, TREECAST_GROUP, TREECAST_SUBJECT, TREECAST_ATTEMPT and TREECAST_ACCEPTED in its\n\
    environment. A message is acked when CMD exits with 0, else delivered again: after the group's\n\
    back-off, or after 1 s, 2 s, 4 s and so on up to a minute when it has none. The exit code is 1\n\
    when -n is reached and CMD has succeeded for none.\n\n\
    A subscription that is not shared has one receiver: this one takes over from another that\n\
    runs, and ends when a later `get`, `poll` or `notify` takes over.")]
pub struct NotifyArgs {
    /// Run a shell command for each message instead of writing it
    #[arg(long, value_name = "CMD")]
    pub exec: Option<String>,
    /// End after so many messages [default: never]
    #[arg(short = 'n', long, value_name = "N", value_parser = values::positive)]
    pub count: Option<u64>,
    /// From where.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Takes messages, waiting for them.
///
/// # Errors
/// When the relay refuses or is gone, output cannot be written, or the wait is over.
pub async fn get(args: GetArgs, context: &mut Context) -> Result<(), Failure> {
    let deadline = args.wait.and_then(ask::deadline);
    let attached = attach(&args.source, Flow::AtMost(args.count), deadline, context);
    let Receiver { mut subscriber, client, watch: _watch } = attached.await?;
    let late = "there were fewer messages than asked for";
    let take = unless_sent_away(&client, take(&mut subscriber, &args, context));
    let taken = until_taken(&client, deadline, late, take).await;
    leave((subscriber, &client), deadline, taken, context.notes).await
}

/// Dropping the future loses nothing: what was written has been acked in the same step.
async fn take(subscriber: &mut Subscriber, args: &GetArgs, context: &mut Context) -> Result<(), Failure> {
    let mut left = args.count;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(BATCH).min(BATCH);
        let batch = subscriber.next_batch(wanted).await?;
        left -= write_and_ack(batch, &args.source, context)?.min(left);
    }
    Ok(())
}

/// Takes what is there.
///
/// # Errors
/// When nothing is there, the relay refuses or is gone, or output cannot be written.
pub async fn poll(args: PollArgs, context: &mut Context) -> Result<(), Failure> {
    let Receiver { mut subscriber, client, watch: _watch } =
        attach(&args.source, Flow::WhenAsked, None, context).await?;
    let polled = poll_all(&mut subscriber, &args, context).await;
    leave((subscriber, &client), Some(Instant::now() + LEAVE_WAIT), polled, context.notes).await
}

async fn poll_all(
    subscriber: &mut Subscriber,
    args: &PollArgs,
    context: &mut Context,
) -> Result<(), Failure> {
    let mut left = args.count;
    while left > 0 {
        let wanted = left.min(BATCH as u64);
        let here = subscriber.poll(wanted).await?;
        // What was deleted before they could be taken is told, too.
        while let Some(batch) = subscriber.try_next_batch(BATCH) {
            left -= write_and_ack(batch?, &args.source, context)?.min(left);
        }
        if here == 0 {
            break;
        }
    }
    if left == args.count { Err(Failure::Nothing) } else { Ok(()) }
}

/// Takes messages as they come.
///
/// # Errors
/// When the relay refuses or is gone, output cannot be written, or no command can be started.
pub async fn notify(args: NotifyArgs, context: &mut Context) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let flow = match &args.exec {
        Some(_) => Flow::OneByOne(args.count),
        None => args.count.map_or(Flow::Free, Flow::AtMost),
    };
    let Receiver { mut subscriber, client, watch: _watch } =
        attach(&args.source, flow, None, context).await?;
    let (notified, by) = tokio::select! {
        notified = notify_all(&mut subscriber, &client, &args, context) => (notified, None),
        // What a command is at work on is not acked: it is delivered again, to the next receiver.
        () = stop.asked() => (Ok(()), Some(Instant::now() + LEAVE_WAIT)),
    };
    leave((subscriber, &client), by, notified, context.notes).await
}

async fn notify_all(
    subscriber: &mut Subscriber,
    client: &Client,
    args: &NotifyArgs,
    context: &mut Context,
) -> Result<(), Failure> {
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut succeeded = 0;
    let most = if args.exec.is_some() { 1 } else { BATCH };
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(most).min(most);
        // A command that is at work comes to its end, wherever the next message is to be had.
        let batch = unless_sent_away(client, async { Ok(subscriber.next_batch(wanted).await?) }).await?;
        let messages = batch.len() as u64;
        succeeded += match &args.exec {
            None => write_and_ack(batch, &args.source, context)?,
            Some(command) => exec_all(command, batch, client, context).await?,
        };
        left -= messages.min(left);
        // What was done here is not to be done again when the relay crashes now. While the relay is away it
        // waits in vain: the acks are kept, and said when it is back.
        let flushed = unless_sent_away(client, async { Ok(subscriber.flush_acks().await?) }).await;
        if let Err(Failure::Client(lost @ ClientError::AcksLost)) = flushed {
            context.notes.note(lost);
        }
    }
    if succeeded == 0 {
        Err(Failure::Check("the command has succeeded for no message".to_owned()))
    } else {
        Ok(())
    }
}

/// How messages flow from the relay. What comes and is left unacked would
/// count as an attempt, so no more comes than will be dealt with.
#[derive(Clone, Copy, Debug)]
enum Flow {
    /// As many as there are.
    Free,
    /// So many and no more.
    AtMost(u64),
    /// Only the next one, so many times: the others may wait long, and others may compete for them.
    OneByOne(Option<u64>),
    /// Only what a poll asks for.
    WhenAsked,
}

/// A subscriber, and the connection that it lives on.
struct Receiver {
    subscriber: Subscriber,
    client: Client,
    /// Tells when the relay is away.
    watch: Watch,
}

async fn attach(
    source: &SourceArgs,
    flow: Flow,
    deadline: Option<Instant>,
    context: &Context,
) -> Result<Receiver, Failure> {
    if source.name.is_none() && source.spec.is_given() {
        let why = "how a subscription is made means something with --as alone: a queue is there already";
        return Err(Failure::Usage(why.to_owned()));
    }
    source.spec.doubt_filter(context);
    let client = until(deadline, ask::SILENT, ask::connect(&context.global.relay)).await?;
    until(deadline, ask::SILENT, check_spec(source, &client, context)).await?;
    let (window, total) = match flow {
        Flow::Free => (limits::WINDOW_DEFAULT, None),
        Flow::AtMost(count) => (limits::WINDOW_DEFAULT, Some(count)),
        Flow::OneByOne(count) => (1, count),
        Flow::WhenAsked => (0, None),
    };
    // Who waits for messages waits for the home, too.
    let attach_deadline = match (flow, deadline) {
        (Flow::WhenAsked, _) => ATTACH_WAIT,
        (_, Some(deadline)) => deadline.saturating_duration_since(Instant::now()),
        (_, None) => Duration::MAX,
    };
    let watch = Watch::start(&client, context.notes);
    let create = (!source.existing && source.name.is_some()).then(|| source.spec.spec());
    let options = SubscriberOptions {
        create,
        window,
        total,
        attach_deadline: Some(attach_deadline),
        ..SubscriberOptions::default()
    };
    let attached = async { Ok(client.subscriber(source.group.clone(), source.name.clone(), options).await?) };
    let subscriber = match flow {
        Flow::WhenAsked => ask::at_once(&client, attached).await?,
        Flow::Free | Flow::AtMost(_) | Flow::OneByOne(_) => {
            until_taken(&client, deadline, ask::SILENT, unless_sent_away(&client, attached)).await?
        }
    };
    Ok(Receiver { subscriber, client, watch })
}

/// What is said of how the subscription is made has no effect when it exists:
/// that is told, and refused where it is made otherwise, as `subscription create` does.
async fn check_spec(source: &SourceArgs, client: &Client, context: &Context) -> Result<(), Failure> {
    let SourceArgs { group, name: Some(name), spec, .. } = source else { return Ok(()) };
    if !spec.is_given() {
        return Ok(());
    }
    let info = match ask::subscription(client, group, name).await {
        Ok(info) => info,
        Err(failure) if failure.exit() == Exit::NothingThere => return Ok(()),
        Err(failure) => return Err(failure),
    };
    if let Some(option) = spec.contradicted_by(&info) {
        let message =
            format!("subscription {name} of {group} exists already, and otherwise than {option} says");
        return Err(ClientError::Refused(Refusal::new(RefusalCode::Exists, message)).into());
    }
    if spec.start.is_given() {
        context.notes.note(format_args!(
            "subscription {name} exists already: it goes on where it is; `treecast subscription seek` moves it"
        ));
    }
    Ok(())
}

/// Writes the gap and the messages, and acks them when the reader of our output
/// has them. Tells how many messages there were.
fn write_and_ack(batch: Batch, source: &SourceArgs, context: &mut Context) -> Result<u64, Failure> {
    if let Some(gap) = batch.gap() {
        write_gap(gap, context)?;
    }
    if let Some(unordered) = batch.unordered() {
        message::write_unordered(unordered, context)?;
    }
    let ack = batch.clone();
    let mut messages = 0;
    for received in batch.into_messages() {
        messages += 1;
        shown(&received).write(source.format, context)?;
    }
    context.out.flush()?;
    ack.ack_all();
    Ok(messages)
}

fn write_gap(gap: &Gap, context: &mut Context) -> Result<(), Failure> {
    Ok(message::write_gap(gap.from, gap.to, gap.cause, context)?)
}

/// Runs the command for each message; gives for how many it succeeded.
async fn exec_all(
    command: &str,
    batch: Batch,
    client: &Client,
    context: &mut Context,
) -> Result<u64, Failure> {
    if let Some(gap) = batch.gap() {
        write_gap(gap, context)?;
        context.out.flush()?;
        gap.ack();
    }
    if let Some(unordered) = batch.unordered() {
        message::write_unordered(unordered, context)?;
        context.out.flush()?;
    }
    let mut succeeded = 0;
    for received in batch.into_messages() {
        succeeded += u64::from(exec_one(command, received, client, context).await?);
    }
    Ok(succeeded)
}

/// Runs the command for a message, and says of it what is to be said; true when it succeeded.
async fn exec_one(
    command: &str,
    received: Received,
    client: &Client,
    context: &Context,
) -> Result<bool, Failure> {
    let failure = |source| Failure::Machine { what: "run the command", source };
    let shown = shown(&received);
    let child = exec::start(command, &shown).map_err(failure)?;
    let mut end = pin!(exec::finish(child, shown.payload));
    let status = loop {
        tokio::select! {
            status = &mut end => break status.map_err(failure)?,
            () = sleep(PROGRESS_EVERY) => received.progress(),
        }
    };
    if status.success() {
        received.ack();
        return Ok(true);
    }
    // Asked for each time: they may have been changed. When the relay is gone, so is the delivery.
    let settings = ask::group(client, received.group()).await.map(|info| info.settings).unwrap_or_default();
    let fate = Fate::after(shown.attempt, &settings);
    context.notes.warning(format_args!(
        "message {}, attempt {}: the command failed ({status}); {fate}",
        shown.id, shown.attempt
    ));
    received.nack(fate.delay());
    Ok(false)
}

fn shown(received: &Received) -> Shown<'_> {
    Shown {
        group: received.id.group(),
        id: received.id.to_string(),
        index: received.index,
        subject: received.subject(),
        headers: received.headers(),
        attempt: received.attempt,
        accepted: received.accepted,
        payload: &received.payload,
    }
}
