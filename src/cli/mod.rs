//! The command line: one file per noun, each with its arguments and what they do.
//!
//! The clap definition in here is the only one: help texts, the man pages and
//! the shell completions all come from it. Data goes to standard output,
//! everything else to standard error; [`exit`] has the one table from reasons
//! to exit codes. The verbs speak to a relay through [`crate::client`] alone.

use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub mod ask;
pub mod exec;
pub mod exit;
mod filter;
pub mod human;
pub mod input;
mod leave;
pub mod link;
mod network;
pub mod out;
mod portion;
mod progress;
pub mod settings;
mod silent;
pub mod table;
pub mod values;
mod watch;

pub mod drain;
pub mod forget;
pub mod group;
pub mod logs;
pub mod manual;
pub mod message;
pub mod moving;
pub mod pages;
pub mod put;
pub mod queue;
pub mod receive;
pub mod relay;
pub mod remove;
pub mod status;
pub mod stop;
pub mod subscription;
pub mod topology;
pub mod trace;
pub mod tree;
pub mod up;

pub mod bench;

/// Where a relay listens, and where applications look for one, unless told otherwise.
pub const RELAY_DEFAULT: &str = "127.0.0.1:7411";

/// Columns of a help text at the most: longer lines are hard to read.
const HELP_WIDTH: usize = 100;

const AFTER_HELP: &str = "\
Exit codes:
    0  done
    1  not done; standard error says why
    2  the command line makes no sense, or the relay says that the request does not
    3  nothing there: no such group or subscription, or no message for `poll`
   65  a file or a message is not acceptable
   69  no relay can be reached at the address, or it went away
   75  not now, try again: a quota, a full disk, a relay that starts or stops, or a queue or
       subscription that lives at a relay which cannot be reached
   77  not permitted
  124  the deadline has passed

Environment:
  TREECAST_RELAY  the relay to speak to, unless --relay names one
  TREECAST_LOG    how much `relay` and `up` log, like `debug` or `treecast::server=debug`
  NO_COLOR        when it is set, nothing is coloured

A quick tour:
  treecast relay                                  start a relay on this machine
  treecast subscription create news me            keep messages of `news` for `me`
  treecast put news 'hello'                       put a message into the group
  treecast get news --as me                       take it";

/// Durable multicast publish/subscribe: what is put into a group at any relay
/// reaches every subscription, also those of receivers that are away.
#[derive(Debug, Parser)]
#[command(name = "treecast", version, after_help = AFTER_HELP, max_term_width = HELP_WIDTH)]
#[command(propagate_version = false, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What every verb takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How data is written to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people: aligned tables, units, relative times.
    #[default]
    Text,
    /// For programs: one object a line, with stable keys.
    Json,
    /// For Graphviz: `group tree` alone.
    Dot,
}

/// What every verb takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// How data is written to standard output
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = "Global options"
    )]
    pub output: Output,
    /// The relay to speak to
    #[arg(long, global = true, env = "TREECAST_RELAY", hide_env_values = true, default_value = RELAY_DEFAULT)]
    #[arg(value_name = "ADDR", help_heading = "Global options")]
    pub relay: String,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start one relay in this process, or list, drain and forget those of the network
    Relay(relay::RelayArgs),
    /// Start every relay of a topology file on this machine
    Up(up::UpArgs),
    /// Check, draw, compare, judge, make and apply topology files
    #[command(subcommand)]
    Topology(topology::TopologyCommand),
    /// Put a message into a group or queue
    #[command(visible_alias = "publish")]
    Put(put::PutArgs),
    /// Take messages, waiting until there are some
    Get(receive::GetArgs),
    /// Take what is there now, without waiting
    Poll(receive::PollArgs),
    /// Take messages as they arrive, until Ctrl-C
    #[command(visible_alias = "subscribe")]
    Notify(receive::NotifyArgs),
    /// Make, list, show, move and remove durable subscriptions
    #[command(subcommand)]
    Subscription(subscription::SubscriptionCommand),
    /// Make, list, show, move and remove point-to-point queues
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Make, change, list, show, draw and remove groups
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// List the links of a relay
    #[command(subcommand)]
    Link(link::LinkCommand),
    /// Tell where the subscriptions of a group, or a queue, live
    Locate(status::LocateArgs),
    /// Tell which way a message took, and what became of it in each subscription
    Where(trace::WhereArgs),
    /// Tell how the relay is
    Status(status::StatusArgs),
    /// Check that in = out + held + expired + evicted + refused
    ///
    /// On the left what was put at this relay since its start; on the right the records of all backlogs, since
    /// their subscriptions began or came here. The relays' own records stand among the messages: those that
    /// nobody was to get are `passed over`, and of what is held they are told apart.
    Books(status::BooksArgs),
    /// Look into a data directory, without changing it
    #[command(subcommand)]
    Log(logs::LogCommand),
    /// Put a relay under load, and verify that nothing is lost, doubled or out of order
    Bench(bench::BenchArgs),
    /// Write a completion script for a shell to standard output
    Completions(pages::CompletionsArgs),
    /// Write the manual: one page to standard output, or all pages into a directory
    Man(pages::ManArgs),
}

/// The definition of the whole command line, for manuals, completions and tests.
#[must_use]
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Runs the command line of this process and gives its exit code.
#[must_use]
pub fn main() -> std::process::ExitCode {
    let matches = definition().get_matches();
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // A variable that is set to nothing is as good as none, as with others; an option is not.
    if cli.global.relay.is_empty() && matches.value_source("relay") == Some(ValueSource::EnvVariable) {
        RELAY_DEFAULT.clone_into(&mut cli.global.relay);
    }
    let mut context = out::Context::of_process(cli.global);
    let result = run(cli.command, &mut context);
    let result = context.out.finish().map_err(exit::Failure::from).and(result);
    match result {
        Ok(()) => exit::Exit::Done.into(),
        Err(failure) => {
            if failure.is_worth_telling() {
                context.notes.error(&failure);
            }
            failure.exit().into()
        }
    }
}

fn run(command: Command, context: &mut out::Context) -> Result<(), exit::Failure> {
    let draws = matches!(command, Command::Group(group::GroupCommand::Tree(_)));
    if context.global.output == Output::Dot && !draws {
        return Err(exit::Failure::Usage(
            "--output dot is for `group tree` only: there is no drawing".to_owned(),
        ));
    }
    match command {
        Command::Relay(args) => block_on(relay::run(args, context)),
        Command::Up(args) => block_on(up::run(args, context)),
        Command::Topology(command) => topology::run(command, context),
        Command::Put(args) => block_on(put::run(args, context)),
        Command::Get(args) => block_on(receive::get(args, context)),
        Command::Poll(args) => block_on(receive::poll(args, context)),
        Command::Notify(args) => block_on(receive::notify(args, context)),
        Command::Subscription(command) => block_on(subscription::run(command, context)),
        Command::Queue(command) => block_on(queue::run(command, context)),
        Command::Group(command) => block_on(group::run(command, context)),
        Command::Link(command) => block_on(link::run(command, context)),
        Command::Locate(args) => block_on(status::locate(args, context)),
        Command::Where(args) => block_on(trace::run(args, context)),
        Command::Status(args) => block_on(status::status(args, context)),
        Command::Books(args) => block_on(status::books(args, context)),
        Command::Log(command) => logs::run(command, context),
        Command::Bench(args) => block_on(bench::run(args, context)),
        Command::Completions(args) => pages::completions(&args, context),
        Command::Man(args) => pages::man(&args, context),
    }
}

/// Runs a verb on this thread. One thread is enough for one user, and leaves
/// the other cores to the relay. A thread that still waits for standard input
/// is left behind: it holds nothing.
fn block_on(verb: impl Future<Output = Result<(), exit::Failure>>) -> Result<(), exit::Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| exit::Failure::Machine { what: "start the runtime", source })?;
    let result = runtime.block_on(verb);
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests;
