//! `treecast put`: messages into a group or queue.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use crate::client::{Client, ClientError, Message, Publisher, PublisherOptions, PutReceipt};
use crate::id::{GroupName, ProducerId, ProducerSequence};
use crate::wire::frame::AckLevel;

use super::ask::{self, until, until_taken};
use super::exit::Failure;
use super::human;
use super::input::{self, Lines};
use super::leave::unless_sent_away;
use super::out::Context;
use super::portion::Portion;
use super::progress::progress_bar;
use super::values::{self, HeaderPair, Millis};
use super::watch::Watch;

/// Arguments of `put`.
#[derive(Debug, Args)]
#[command(override_usage = "treecast put [OPTIONS] <GROUP> <TEXT | --file FILE | --lines>")]
#[command(after_help = "Examples:\n  treecast put news 'hello'\n  \
    treecast put photos --file cat.jpg --subject eu/de --header type=image/jpeg\n  \
    tail -f app.log | treecast put logs --lines\n  \
    treecast put orders --file order.json --producer shop-7 --sequence 1042\n\n\
    Prints the message's id, also when it is on the relay's disk and --ack is not reached; with --lines\n\
    how many were taken. A repeat of a producer's message has no id here: the relay knows\n\
    that it has it, and not where. A group that does not exist is made. When a line of --lines is not\n\
    taken, it is named, and those before it are stored.")]
pub struct PutArgs {
    /// The group or queue
    pub group: GroupName,
    /// The message
    pub text: Option<OsString>,
    /// Take the message from a file; `-` is standard input
    #[arg(long, short, value_name = "FILE", conflicts_with = "text")]
    pub file: Option<PathBuf>,
    /// One message a line, from standard input or from --file
    #[arg(long, conflicts_with = "text")]
    pub lines: bool,
    /// When the put counts as done: accepted, stored=N, inserted or consumed
    ///
    /// accepted: it is on the relay's disk;
    /// stored=N: it is on the disks of N relays, this one among them;
    /// inserted: it is in the backlog of every relay that has subscriptions;
    /// consumed: every subscription is done with it: it was acked there, or will never be delivered (it
    /// has expired, was dropped by a limit or a quota, is a dead letter, or was passed over by a seek)
    #[arg(long, value_name = "LEVEL", default_value = "accepted", value_parser = ack)]
    pub ack: Ack,
    /// How long to wait for that, connecting included; with --lines: how long without any progress
    #[arg(long, value_name = "DURATION", value_parser = values::millis, default_value = "30s")]
    pub deadline: Millis,
    /// After this time the message is of no use any more
    #[arg(long, value_name = "DURATION", value_parser = values::positive_millis)]
    pub ttl: Option<Millis>,
    /// The key inside the group that filters look at, like `eu/de/berlin`
    #[arg(long, value_parser = values::subject)]
    pub subject: Option<String>,
    /// A header; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::header)]
    pub header: Vec<HeaderPair>,
    /// Makes a retry safe: the same producer and sequence are inserted once
    #[arg(long, value_name = "NAME", requires = "sequence")]
    pub producer: Option<String>,
    /// The message's number at the producer, counted up from 1; with --lines: that of the first line
    ///
    /// Numbers may come in any order; the relay remembers at most 64 gaps between those it has, and
    /// refuses a put that would leave more
    #[arg(long, value_name = "N", requires = "producer", value_parser = values::positive)]
    pub sequence: Option<u64>,
}

/// When a put counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// It is on the relay's disk
    Accepted,
    /// It is on the disks of so many relays
    Stored(u16),
    /// It is in the backlog of every relay that has subscriptions
    Inserted,
    /// Every subscription is done with it
    Consumed,
}

impl Ack {
    fn level(self) -> AckLevel {
        match self {
            Self::Accepted => AckLevel::Accepted,
            Self::Stored(_) => AckLevel::Stored,
            Self::Inserted => AckLevel::Inserted,
            Self::Consumed => AckLevel::Consumed,
        }
    }

    fn copies(self) -> u16 {
        if let Self::Stored(copies) = self { copies } else { 0 }
    }
}

/// Reads a level.
fn ack(text: &str) -> Result<Ack, String> {
    Ok(match text {
        "accepted" => Ack::Accepted,
        "inserted" => Ack::Inserted,
        "consumed" => Ack::Consumed,
        _ => {
            let copies = text.strip_prefix("stored=").and_then(|copies| copies.parse().ok());
            match copies {
                Some(copies @ 1..) => Ack::Stored(copies),
                Some(0) | None => {
                    return Err(
                        "write accepted, stored=N (N relays, 1 to 65535), inserted or consumed".to_owned()
                    );
                }
            }
        }
    })
}

impl PutArgs {
    /// The input of `--lines`.
    fn lines_from(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new("-"))
    }

    fn whole_payload(&self) -> Result<Bytes, Failure> {
        match (&self.text, &self.file) {
            (Some(text), _) => Ok(text.clone().into_vec().into()),
            (None, Some(file)) => input::whole(file),
            (None, None) => Err(Failure::Usage(
                "no message: write TEXT, --file FILE (`-` is standard input) or --lines".to_owned(),
            )),
        }
    }

    fn message(&self, payload: Bytes) -> Message {
        let mut message = Message::new(payload);
        if let Some(subject) = &self.subject {
            message = message.subject(subject);
        }
        if let Some(ttl) = self.ttl {
            message = message.ttl(ttl.duration());
        }
        self.header
            .iter()
            .fold(message, |message, HeaderPair { key, value }| message.header(key, value.clone()))
    }
}

/// A publisher, and the connection that it lives on.
struct Sender {
    publisher: Publisher,
    client: Client,
    /// Tells when the relay is away.
    watch: Watch,
}

/// Puts.
///
/// # Errors
/// When the input cannot be read, the relay refuses or is not there, or the deadline passes.
pub async fn run(args: PutArgs, context: &mut Context) -> Result<(), Failure> {
    if args.lines { put_lines(&args, context).await } else { put_one(&args, context).await }
}

async fn connect(args: &PutArgs, context: &Context) -> Result<Sender, Failure> {
    let deadline = ask::deadline(args.deadline);
    let client = until(deadline, ask::SILENT, ask::connect(&context.global.relay)).await?;
    let watch = Watch::start(&client, context.notes);
    let options = PublisherOptions {
        producer: args.producer.as_deref().map(ProducerId::from_name),
        first_sequence: ProducerSequence(args.sequence.unwrap_or(1)),
        // Other processes may be putting lower numbers at this moment.
        counts_on: args.sequence.is_none(),
        level: args.ack.level(),
        copies: args.ack.copies(),
        ..PublisherOptions::default()
    };
    let opened = async { Ok(client.publisher(args.group.clone(), options).await?) };
    let publisher = until_taken(&client, deadline, ask::SILENT, opened).await?;
    Ok(Sender { publisher, client, watch })
}

async fn put_one(args: &PutArgs, context: &mut Context) -> Result<(), Failure> {
    // Read first: a bad file is told without a relay, too.
    let payload = args.whole_payload()?;
    let deadline = ask::deadline(args.deadline);
    let Sender { publisher, client, watch: _watch } = connect(args, context).await?;
    let put = async { Ok(publisher.put(args.message(payload)).await?) };
    let mut ticket = until_taken(&client, deadline, UNCONFIRMED, put).await?;
    let answer = async { Ok((&mut ticket).await?) };
    let answered = until_taken(&client, deadline, UNCONFIRMED, unless_sent_away(&client, answer)).await;
    match (answered, ticket.taken()) {
        (Ok(receipt), _) => tell_one(&receipt, args, context)?,
        // It is there all the same, and its id is what one asks by what becomes of it.
        (Err(failure), Some(receipt)) => {
            tell_one(&receipt, args, context)?;
            let is_late = matches!(failure, Failure::Deadline(_));
            return Err(if is_late { Failure::Deadline(ACCEPTED) } else { failure });
        }
        (Err(failure), None) => {
            note_unsure(&publisher, &failure, UNCONFIRMED, context);
            return Err(failure);
        }
    }
    Ok(publisher.close().await?)
}

/// Notes that more may have been done than was said; a deadline says so itself. Who puts again may put twice.
fn note_unsure(publisher: &Publisher, failure: &Failure, words: &str, context: &Context) {
    if matches!(failure, Failure::Client(_) | Failure::Line { .. }) && publisher.is_unsure() {
        context.notes.note(words);
    }
}

fn tell_one(receipt: &PutReceipt, args: &PutArgs, context: &mut Context) -> Result<(), Failure> {
    if context.is_text() {
        match &receipt.id {
            Some(id) => context.out.line(id)?,
            None => context.notes.note("a repeat: it had been taken before, and was not inserted again"),
        }
        return Ok(());
    }
    let value = json!({
        "id": receipt.id.as_ref().map(ToString::to_string),
        "group": args.group,
        "repeat": receipt.repeat,
    });
    Ok(context.out.json(&value)?)
}

/// How far a put has come whose level takes longer than its deadline.
const ACCEPTED: &str = "the relay has it on its disk, but --ack was not reached in time; it may still be";

/// The same of many.
const ALL_ACCEPTED: &str =
    "the relay has them on its disk, but --ack was not reached in time; it may still be";

/// Why a deadline may be over though everything is well later.
const UNCONFIRMED: &str = "the relay has not confirmed it; it may still come to be";

/// The same of lines.
const REST_UNCONFIRMED: &str = "the relay has not confirmed what came behind that; it may still come to be";

/// Does one step of many: the deadline counts from its beginning.
async fn step<T>(
    client: &Client,
    deadline: Millis,
    put: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, Failure> {
    until_taken(client, ask::deadline(deadline), UNCONFIRMED, async { Ok(put.await?) }).await
}

/// How far the lines have got.
#[derive(Debug, Default)]
struct Sent {
    lines: u64,
    bytes: u64,
    last: ProducerSequence,
}

async fn put_lines(args: &PutArgs, context: &mut Context) -> Result<(), Failure> {
    let mut lines = Lines::open(args.lines_from())?;
    let sender = connect(args, context).await?;
    let Sender { publisher, client, .. } = &sender;
    let progress = progress_bar(input::size(args.lines_from()), context);
    let begun = Instant::now();
    let mut sent = Sent::default();
    let mut portion = Portion::of(client, &args.group).await;
    let at = (&mut sent, &mut portion, &progress);
    let mut ended = unless_sent_away(client, send(&mut lines, &sender, args, at)).await;
    let is_hopeless = ended.as_ref().is_err_and(is_hopeless);
    if !is_hopeless {
        // Also behind a bad line: what was taken before it is to be stored, and counted.
        let confirmed = unless_sent_away(client, confirm(&sender, sent.last, args.deadline)).await;
        if let (Err(_), Err(bad_line)) = (&confirmed, &ended) {
            context.notes.error(bad_line);
        }
        ended = confirmed.and(ended);
    }
    progress.finish_and_clear();
    if let Some(failure) = publisher.failures().into_iter().next() {
        let line = failure.first.0 - args.sequence.unwrap_or(1) + 1;
        ended = Err(Failure::Line { line, source: failure.error });
    }
    if let Err(failure) = ended {
        let stored = publisher.taken();
        context.notes.note(format_args!("stored before that: {}", human::of(stored, "line")));
        note_unsure(publisher, &failure, REST_UNCONFIRMED, context);
        let is_late = matches!(failure, Failure::Deadline(_)) && stored == sent.lines && stored > 0;
        return Err(if is_late { Failure::Deadline(ALL_ACCEPTED) } else { failure });
    }
    tell(&sent, publisher.repeats(), begun.elapsed(), args, context)
}

/// Whether it has waited in vain for the relay: then there is nothing more to wait for.
fn is_hopeless(why: &Failure) -> bool {
    // What a relay refuses for the moment, it refuses of all.
    let is_of_all = |source: &ClientError| source.is_passing();
    matches!(why, Failure::Deadline(_) | Failure::Client(_))
        || matches!(why, Failure::Line { source, .. } if is_of_all(source))
}

/// Puts line after line, to the end of the input or to the first that is refused.
async fn send(
    lines: &mut Lines,
    sender: &Sender,
    args: &PutArgs,
    (sent, portion, progress): (&mut Sent, &mut Portion, &ProgressBar),
) -> Result<(), Failure> {
    let Sender { publisher, client, .. } = sender;
    while publisher.failed() == 0
        && let Some(batch) = lines.next().await
    {
        for line in batch? {
            let bytes = line.len() as u64;
            if !portion.takes(bytes) {
                confirm(sender, sent.last, args.deadline).await?;
                if publisher.failed() > 0 {
                    return Ok(());
                }
            }
            let put = publisher.put_unacked(args.message(line));
            sent.last =
                step(client, args.deadline, put).await.map_err(|failure| at_line(sent.lines + 1, failure))?;
            sent.lines += 1;
            sent.bytes += bytes;
        }
        progress.set_position(if progress.length().is_some() { sent.bytes + sent.lines } else { sent.lines });
    }
    Ok(())
}

/// A refusal is about the line; everything else about the relay or the way to it.
fn at_line(line: u64, failure: Failure) -> Failure {
    if let Failure::Client(source @ ClientError::Refused(_)) = failure {
        Failure::Line { line, source }
    } else {
        failure
    }
}

/// Waits for the answers; in steps, so that the deadline counts from the last progress.
async fn confirm(sender: &Sender, last: ProducerSequence, deadline: Millis) -> Result<(), Failure> {
    let Sender { publisher, client, .. } = sender;
    while publisher.answered() <= last {
        let next = ProducerSequence((publisher.answered().0 + ACKED_STEP).min(last.0));
        step(client, deadline, publisher.wait_answered(next)).await?;
    }
    Ok(())
}

/// Tells what was done.
fn tell(
    sent: &Sent,
    repeats: u64,
    took: Duration,
    args: &PutArgs,
    context: &mut Context,
) -> Result<(), Failure> {
    if !context.is_text() {
        let value =
            json!({ "group": args.group, "messages": sent.lines, "bytes": sent.bytes, "repeats": repeats });
        return Ok(context.out.json(&value)?);
    }
    let rate = sent.lines as f64 / took.as_secs_f64().max(1e-9);
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let again = match repeats {
        0 => String::new(),
        repeats => format!("; {} of them had been taken before, not inserted again", human::count(repeats)),
    };
    context.notes.note(format_args!(
        "{}, {}, in {}: {} a second{again}",
        human::of(sent.lines, "message"),
        human::bytes(sent.bytes),
        human::millis(millis),
        human::rate(rate),
    ));
    Ok(())
}

/// Messages between two looks at the deadline while the last ones are being confirmed.
const ACKED_STEP: u64 = 1000;
