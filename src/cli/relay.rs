//! `treecast relay`: one relay in this process.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

use crate::id::RelayId;
use crate::server::{Server, ServerOptions};

use super::exit::Failure;
use super::out::Context;
use super::stop::Stop;

/// What is logged unless TREECAST_LOG says otherwise.
const LOG_DEFAULT: &str = "info";

/// What a segment of the log may have: larger ones cost more at a start, smaller ones hold too little.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 32 << 20..=1 << 30;

/// Arguments of `relay`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  treecast relay\n  treecast relay --data /var/lib/treecast --listen 127.0.0.1:7411\n\n\
    Says where it listens, and runs until Ctrl-C. What it logs goes to standard error;\n\
    TREECAST_LOG sets how much, like `debug` or `treecast::server=debug` [default: info]."
)]
pub struct RelayArgs {
    /// Where messages are kept; made when missing [default: ~/.local/state/treecast]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where to listen; port 0: the system chooses one
    #[arg(long, value_name = "ADDR", default_value = super::RELAY_DEFAULT)]
    pub listen: SocketAddr,
    /// The relay's name
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub name: RelayId,
    /// Listen at an address that others can reach, though there are no keys yet
    #[arg(long)]
    pub insecure: bool,
    /// The size of the files of the log [default: 128MiB]
    #[arg(long, value_name = "SIZE", value_parser = super::values::bytes)]
    pub segment_bytes: Option<u64>,
    /// The disk space kept free, so that acks always fit [default: two such files]
    #[arg(long, value_name = "SIZE", value_parser = super::values::bytes)]
    pub reserve_bytes: Option<u64>,
    /// Stop when standard input ends: whoever started this relay is gone then
    #[arg(long, hide = true)]
    pub until_input_ends: bool,
}

/// Runs a relay.
///
/// # Errors
/// When it cannot start, or ends by itself.
pub async fn run(args: RelayArgs, context: &mut Context) -> Result<(), Failure> {
    let insecure = !args.listen.ip().is_loopback();
    if insecure && !args.insecure {
        return Err(Failure::Usage(format!(
            "{} can be reached from other machines, and there are no keys yet: anybody could read and put; \
             listen at a loopback address, or say --insecure",
            args.listen
        )));
    }
    start_logging(context);
    let mut stop = Stop::new()?;
    let input_ended = args.until_input_ends.then(watch_input);
    let data = match args.data {
        Some(data) => data,
        None => data_default()?,
    };
    let mut options = ServerOptions::new(args.name.clone(), data.clone(), args.listen);
    if let Some(bytes) = args.segment_bytes {
        if !SEGMENT_BYTES.contains(&bytes) {
            return Err(Failure::Usage(format!("--segment-bytes is {bytes}; it must be 32MiB to 1GiB")));
        }
        options.log.segment_bytes = bytes;
        options.log.reserve_bytes = 2 * bytes;
        options.snapshot_bytes = bytes;
    }
    if let Some(bytes) = args.reserve_bytes {
        options.log.reserve_bytes = bytes;
    }
    let server = Server::start(options).await?;
    let address = server.address();
    if context.is_text() {
        context.out.line(format_args!(
            "relay {} listens at {address}, data in {}",
            args.name,
            data.display()
        ))?;
    } else {
        context.out.json(&json!({ "relay": args.name, "address": address.to_string(), "data": data }))?;
    }
    context.out.flush()?;
    if insecure {
        context.notes.warning(format_args!("--insecure: anybody who reaches {address} can read and put"));
    }
    let ended = tokio::select! {
        ended = server.wait() => ended,
        () = stop.asked() => stop_well(&server, stop).await?,
        () = ended(input_ended) => server.stop().await,
    };
    Ok(ended?)
}

/// The relay ends well, unless the user asks a second time.
async fn stop_well(
    server: &Server,
    mut stop: Stop,
) -> Result<Result<(), crate::server::ServerError>, Failure> {
    tokio::select! {
        ended = server.stop() => Ok(ended),
        () = stop.asked() => Err(Failure::Check("stopped at once, as asked; the next start recovers".to_owned())),
    }
}

/// Under the user's state directory, as the XDG rules say.
fn data_default() -> Result<PathBuf, Failure> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    let state = state.ok_or_else(|| {
        Failure::Usage("there is no home directory to keep data in; name one with --data".to_owned())
    })?;
    Ok(state.join("treecast"))
}

/// A thread that waits for the end of standard input.
fn watch_input() -> oneshot::Receiver<()> {
    let (end, ended) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = end.send(());
    });
    ended
}

async fn ended(input: Option<oneshot::Receiver<()>>) {
    match input {
        Some(input) => {
            let _ = input.await;
        }
        None => std::future::pending().await,
    }
}

fn start_logging(context: &Context) {
    let filter = EnvFilter::builder().parse_lossy(
        std::env::var("TREECAST_LOG").ok().filter(|text| !text.is_empty()).unwrap_or(LOG_DEFAULT.to_owned()),
    );
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(context.notes.has_colour())
        .finish();
    // Fails only when somebody has set one before: then theirs is right.
    let _ = tracing::subscriber::set_global_default(logging);
}
