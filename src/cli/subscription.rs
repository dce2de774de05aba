//! `treecast subscription`: durable subscriptions by name.

mod list;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::id::{GroupName, Index, SubscriptionName};
use crate::limits;
use crate::wire::body::{Request, Start, SubscribeLevel, SubscriptionInfo, SubscriptionSpec};

use super::ask;
use super::exit::{Exit, Failure};
use super::human;
use super::moving::{self, MoveArgs};
use super::out::Context;
use super::remove::Consent;
use super::table::Facts;
use super::values::{self, Since};

/// What to do with subscriptions.
#[derive(Debug, Subcommand)]
pub enum SubscriptionCommand {
    /// Make a durable subscription; from now on its backlog is kept
    #[command(after_help = "Examples:\n  treecast subscription create orders billing\n  \
        treecast subscription create orders audit --from beginning\n  \
        treecast subscription create orders workers --shared --filter 'eu/+/paid/#'")]
    Create(CreateArgs),
    /// List the subscriptions of a group
    #[command(after_help = "Examples:\n  treecast subscription list orders\n  \
        treecast subscription list orders --output json")]
    List {
        /// The group
        group: GroupName,
    },
    /// Tell all of one subscription
    ///
    /// What was inserted into its backlog, and what became of that, counts from its beginning, or from when
    /// it came to its home. `filtered` is what its filter did not let through; `passed over` is what nobody
    /// was to get: the relays' own records, repeats, what was put before it began, and what it had at the
    /// home from which it has come.
    #[command(after_help = "Examples:\n  treecast subscription show orders billing")]
    Show(NameArgs),
    /// Move a subscription to another place in what is kept
    #[command(after_help = "Examples:\n  treecast subscription seek orders audit --from beginning\n  \
        treecast subscription seek orders audit --since 2h30m")]
    Seek(SeekArgs),
    /// Make another relay the home of a subscription, while its receivers go on
    #[command(after_help = "Ask again to see how far it is: it is there when `show` says so.\n\n\
        Examples:\n  treecast subscription move orders billing oslo\n  \
        treecast subscription move orders billing --cancel")]
    Move(MoveArgs),
    /// Remove a subscription with its backlog
    ///
    /// It asks first if any messages were not acked; where nobody can be asked it refuses without `--yes`.
    #[command(after_help = "Examples:\n  treecast subscription remove orders audit\n  \
        treecast subscription remove orders audit --yes")]
    Remove {
        /// Which one.
        #[command(flatten)]
        subscription: NameArgs,
        /// Whether somebody is asked.
        #[command(flatten)]
        consent: Consent,
    },
}

/// A subscription by name.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// The group
    pub group: GroupName,
    /// The subscription
    pub name: SubscriptionName,
}

/// Arguments of `subscription create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Which one.
    #[command(flatten)]
    pub name: NameArgs,
    /// How it works.
    #[command(flatten)]
    pub spec: SpecArgs,
}

/// Arguments of `subscription seek`.
#[derive(Debug, Args)]
pub struct SeekArgs {
    /// Which one.
    #[command(flatten)]
    pub name: NameArgs,
    /// Where to.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Where a subscription is moved to: one of these, since there is no place that would be the right one.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct PlaceArgs {
    /// To the next message that is accepted, or to the oldest that is kept
    #[arg(long, value_enum, value_name = "PLACE")]
    pub from: Option<From>,
    /// To what has come to its home since: `2h30m` ago, or an RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = values::since)]
    pub since: Option<Since>,
    /// To this position of the group, as `show` tells it
    #[arg(long, value_name = "N")]
    pub from_index: Option<u64>,
}

impl PlaceArgs {
    fn start(&self) -> Start {
        StartArgs { from: self.from, since: self.since, from_index: self.from_index }.start()
    }
}

/// How a subscription is made.
#[derive(Clone, Debug, Default, Args)]
pub struct SpecArgs {
    /// Where it begins.
    #[command(flatten)]
    pub start: StartArgs,
    /// Several receivers compete for one backlog; what one leaves unacked, the others get
    #[arg(long)]
    pub shared: bool,
    /// Only subjects that match: `+` stands for one level, a last `#` for the rest
    #[arg(long, value_name = "PATTERN")]
    pub filter: Option<String>,
    /// Messages delivered and not yet acked, at most [default: 1024, at most 65536]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::WINDOW_MAX)))]
    pub window: Option<u32>,
    /// Who must know of it before it counts as made: what they accept afterwards reaches it
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t)]
    pub level: Level,
    /// How long they may take [default: 5s]
    #[arg(long = "deadline", alias = "within", value_name = "DURATION", value_parser = values::positive_millis)]
    pub within: Option<values::Millis>,
}

/// Who must know of a new subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// The relay that is asked
    Local,
    /// All relays that can be reached from it
    #[default]
    Reachable,
    /// All relays of the network
    Strict,
}

impl Level {
    fn of_wire(self) -> SubscribeLevel {
        match self {
            Self::Local => SubscribeLevel::Local,
            Self::Reachable => SubscribeLevel::Reachable,
            Self::Strict => SubscribeLevel::Strict,
        }
    }
}

/// Where a subscription begins.
#[derive(Clone, Debug, Default, Args)]
#[group(multiple = false)]
pub struct StartArgs {
    /// Where to begin: with the next message, or with the oldest that is kept [default: now]
    #[arg(long, value_enum, value_name = "PLACE")]
    pub from: Option<From>,
    /// Begin with what has come to its home since: `2h30m` ago, or an RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = values::since)]
    pub since: Option<Since>,
    /// Begin at this position of the group, as `show` tells it
    #[arg(long, value_name = "N")]
    pub from_index: Option<u64>,
}

/// The two ends of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum From {
    /// With the next message that is accepted
    Now,
    /// With the oldest message that is kept
    Beginning,
}

impl StartArgs {
    /// As the relay is told.
    #[must_use]
    pub fn start(&self) -> Start {
        match (self.from, self.since, self.from_index) {
            (_, Some(since), _) => Start::Time(since.time(values::now())),
            (_, _, Some(index)) => Start::Index(Index(index)),
            (Some(From::Beginning), ..) => Start::Beginning,
            (Some(From::Now) | None, ..) => Start::Now,
        }
    }

    /// Whether one was named.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.from.is_some() || self.since.is_some() || self.from_index.is_some()
    }
}

impl SpecArgs {
    /// Whether anything was said.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.start.is_given() || self.shared || self.filter.is_some() || self.window.is_some()
    }

    /// What was said and is otherwise in a subscription that exists.
    #[must_use]
    pub fn contradicted_by(&self, info: &SubscriptionInfo) -> Option<&'static str> {
        if self.shared && !info.shared {
            Some("--shared")
        } else if self.filter.is_some() && self.filter != info.filter {
            Some("--filter")
        } else if self.window.is_some_and(|window| window != info.window) {
            Some("--window")
        } else {
            None
        }
    }

    /// As the relay is told.
    #[must_use]
    pub fn spec(&self) -> SubscriptionSpec {
        SubscriptionSpec {
            start: self.start.start(),
            shared: self.shared,
            filter: self.filter.clone(),
            window: self.window,
            level: self.level.of_wire(),
            within_ms: self.within.map(|within| within.0),
        }
    }
}

/// Does it.
///
/// # Errors
/// When the relay refuses or is not there.
pub async fn run(command: SubscriptionCommand, context: &mut Context) -> Result<(), Failure> {
    let client = ask::connect(&context.global.relay).await?;
    match command {
        SubscriptionCommand::Create(CreateArgs { name: NameArgs { group, name }, spec }) => {
            spec.doubt_filter(context);
            let request =
                Request::SubscriptionCreate { group: group.clone(), name: name.clone(), spec: spec.spec() };
            let made = ask::done(&client, request).await;
            if made.as_ref().is_err_and(|failure| failure.exit() == Exit::Deadline) {
                // It is made all the same, and who must know of it is another matter.
                if let Ok(info) = ask::subscription(&client, &group, &name).await {
                    show(&info, context)?;
                }
                return made;
            }
            made?;
            show(&ask::subscription(&client, &group, &name).await?, context)
        }
        SubscriptionCommand::List { group } => {
            let (all, silent) = ask::subscriptions_everywhere(&client, &group).await?;
            list::write((&all, &silent), &group, context)
        }
        SubscriptionCommand::Show(NameArgs { group, name }) => {
            show(&ask::subscription(&client, &group, &name).await?, context)
        }
        SubscriptionCommand::Seek(SeekArgs { name: NameArgs { group, name }, place }) => {
            let request =
                Request::SubscriptionSeek { group: group.clone(), name: name.clone(), start: place.start() };
            ask::done(&client, request).await?;
            show(&ask::subscription(&client, &group, &name).await?, context)
        }
        SubscriptionCommand::Move(args) => show(&moving::ask(&client, args).await?, context),
        SubscriptionCommand::Remove { subscription: NameArgs { group, name }, consent } => {
            consent.remove_subscription(&client, (group, name), context).await
        }
    }
}

fn show(info: &SubscriptionInfo, context: &mut Context) -> Result<(), Failure> {
    if !context.is_text() {
        return Ok(context.out.json(&to_json(info))?);
    }
    Ok(facts(info).write(&mut context.out)?)
}

/// All of a subscription, for people.
pub(super) fn facts(info: &SubscriptionInfo) -> Facts {
    let out = &info.out;
    let mut facts = Facts::default();
    facts.add("subscription", info.name.as_str());
    facts.add("group", info.group.as_str());
    facts.add("home", info.home.as_str());
    if !info.also_at.is_empty() {
        facts.add("lives also at", also_at(info));
    }
    facts.add("kind", if info.shared { "shared: receivers compete" } else { "one receiver at a time" });
    facts.add("filter", info.filter.as_deref().unwrap_or("none: every message"));
    facts.add("backlog", human::of(info.backlog, "message"));
    facts.add("in flight", format!("{} of at most {}", human::count(info.in_flight), info.window));
    facts.add("parked", format!("{} to be delivered again", human::of(info.parked, "message")));
    if info.aside > 0 {
        let text =
            format!("{} until their producer's earlier ones are here", human::of(info.aside, "message"));
        facts.add("set aside", text);
    }
    facts.add("receivers", info.receivers.to_string());
    facts.add("position", format!("done below {}, next {}", info.floor, info.next));
    moving::add_facts(info, &mut facts);
    facts.add("inserted", human::count(info.inserted));
    if held_own(info) > 0 {
        facts.add(
            "",
            format!("of these, {} of the relays' own to be passed over", human::count(held_own(info))),
        );
    }
    for (name, number) in outcomes(out) {
        if number > 0 || name == "acked" {
            facts.add(name, human::count(number));
        }
    }
    facts
}

/// The other homes of its name.
pub(super) fn also_at(info: &SubscriptionInfo) -> String {
    let homes: Vec<&str> = info.also_at.iter().map(|home| home.as_str()).collect();
    homes.join(", ")
}

/// Of what was inserted: the relays' own records, which nobody receives, that are not passed over yet.
fn held_own(info: &SubscriptionInfo) -> u64 {
    let done: u64 = outcomes(&info.out).iter().map(|(_, count)| count).sum();
    info.inserted.saturating_sub(info.backlog.saturating_add(done))
}

/// What became of messages, by name.
pub(super) fn outcomes(out: &crate::wire::body::Outcomes) -> [(&'static str, u64); 9] {
    [
        ("acked", out.acked),
        ("filtered", out.filtered),
        ("expired", out.expired),
        ("evicted", out.evicted),
        ("dead-lettered", out.dead_lettered),
        ("skipped", out.skipped),
        ("lost", out.lost),
        ("passed over", out.passed),
        ("moved along", out.moved),
    ]
}

/// All of a subscription, for programs.
pub(super) fn to_json(info: &SubscriptionInfo) -> Value {
    json!({
        "group": info.group,
        "subscription": info.name,
        "home": info.home,
        "shared": info.shared,
        "filter": info.filter,
        "window": info.window,
        "floor": info.floor,
        "next": info.next,
        "backlog": info.backlog,
        "in_flight": info.in_flight,
        "parked": info.parked,
        "aside": info.aside,
        "receivers": info.receivers,
        "inserted": info.inserted,
        "held_own": held_own(info),
        "out": outcomes_json(&info.out),
        "moving": info.moving.as_deref().map(moving::to_json),
        "comes_from": info.comes_from,
        "also_at": info.also_at,
    })
}

/// What became of messages, for programs.
pub(super) fn outcomes_json(out: &crate::wire::body::Outcomes) -> Value {
    json!({
        "acked": out.acked,
        "filtered": out.filtered,
        "expired": out.expired,
        "evicted": out.evicted,
        "dead_lettered": out.dead_lettered,
        "skipped": out.skipped,
        "lost": out.lost,
        "passed": out.passed,
        "moved": out.moved,
    })
}
