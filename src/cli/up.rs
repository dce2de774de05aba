//! `treecast up`: every relay of a topology file on this machine, one child process each.
//!
//! A child stops when its standard input ends, so that no relay is left behind
//! even when this process is killed. Children live in process groups of their
//! own: Ctrl-C reaches only this process, which passes it on once.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::exit::{Exit, Failure};
use super::out::{Context, Notes};
use super::stop::Stop;
use super::table::{Side, Table};

/// How long a relay may take until it listens. Recovery does not grow with the backlog.
const START_WAIT: Duration = Duration::from_secs(60);

/// Between two looks whether all relays live.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long relays may take to stop before they are killed. Nothing that was
/// acknowledged is lost then; the next start only takes a little longer.
const STOP_WAIT: Duration = Duration::from_secs(20);

/// Arguments of `up`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  treecast up topologies/one.toml\n\nCtrl-C stops all of them. What they log goes to standard error, each line\n\
    with the name of its relay; TREECAST_LOG sets how much. A relay that is stopped\n\
    by itself, as after `relay drain`, leaves the others running; one that fails stops all."
)]
pub struct UpArgs {
    /// The topology file
    pub file: PathBuf,
}

/// Starts every relay of a topology file, and stops them when the user says so.
///
/// # Errors
/// When the file cannot be used, or a relay does not start, or dies.
pub async fn run(args: UpArgs, context: &mut Context) -> Result<(), Failure> {
    let topology = super::topology::load_to_start(&args.file, context)?;
    let relays = topology.relays().iter();
    let relays = relays.map(|relay| Planned { name: relay.name.clone(), address: relay.address.to_string() });
    run_all(&args.file, relays.collect(), context).await
}

/// A relay to start.
#[derive(Clone, Debug)]
struct Planned {
    /// Its name in the file.
    name: String,
    /// Where it will listen.
    address: String,
}

struct Running {
    relay: Planned,
    child: Child,
    /// Tells what the relay says on its standard error, until it ends.
    telling: Option<JoinHandle<()>>,
    has_stopped: bool,
}

/// Runs relays until one dies, all have stopped, or the user says stop.
///
/// # Errors
/// When one cannot be started, does not listen in time, or dies.
async fn run_all(file: &Path, relays: Vec<Planned>, context: &mut Context) -> Result<(), Failure> {
    let machine = |what| move |source| Failure::Machine { what, source };
    let mut asked = Stop::new()?;
    let mut running = Vec::new();
    for relay in relays {
        let mut child = start(file, &relay.name).map_err(machine("start a relay"))?;
        let telling =
            child.stderr.take().map(|said| tokio::spawn(tell(relay.name.clone(), said, context.notes)));
        running.push(Running { relay, child, telling, has_stopped: false });
    }
    let ready = tokio::select! {
        ready = all_listen(&mut running) => Some(ready),
        () = asked.asked() => None,
    };
    let result = match ready {
        None => Ok(()),
        Some(Err(failure)) => Err(failure),
        Some(Ok(())) => {
            announce(&running, context)?;
            tokio::select! {
                died = first_death(&mut running, context.notes) => died,
                () = asked.asked() => Ok(()),
            }
        }
    };
    context.notes.note("stopping the relays");
    stop(running, context).await;
    result
}

fn start(file: &Path, name: &str) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg("relay")
        .arg("--topology")
        .arg(file)
        .args(["--name", name, "--until-input-ends", "--output", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Passes on what a relay says, each line with its name: those of all relays stand among one another.
async fn tell(name: String, said: ChildStderr, notes: Notes) {
    let mut lines = BufReader::new(said).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        notes.note(format_args!("{name}: {}", String::from_utf8_lossy(&line)));
    }
}

/// A relay says where it listens when it is ready: after it has bound, and made
/// the groups of the file.
async fn all_listen(running: &mut [Running]) -> Result<(), Failure> {
    let deadline = Instant::now() + START_WAIT;
    for Running { relay, child, .. } in running {
        let Some(output) = child.stdout.take() else { continue };
        let mut lines = BufReader::new(output).lines();
        let Ok(line) = timeout_at(deadline, lines.next_line()).await else {
            return Err(Failure::Deadline("a relay was not ready within a minute"));
        };
        let said = line.ok().flatten().and_then(|line| serde_json::from_str::<Value>(&line).ok());
        match said.as_ref().and_then(|said| said.get("address")?.as_str()) {
            Some(address) => address.clone_into(&mut relay.address),
            None => return Err(death(&relay.name, child.wait().await)),
        }
    }
    Ok(())
}

fn ended(child: &mut Child) -> Option<io::Result<ExitStatus>> {
    child.try_wait().transpose()
}

fn death(name: &str, status: io::Result<ExitStatus>) -> Failure {
    let code = status.as_ref().ok().and_then(ExitStatus::code);
    let is = |exit: &Exit| code == Some(i32::from(*exit as u8));
    let exit = [Exit::TryAgain, Exit::NotPermitted].into_iter().find(is).unwrap_or(Exit::Failed);
    let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    Failure::Ended { name: name.to_owned(), how, exit }
}

fn announce(running: &[Running], context: &mut Context) -> Result<(), Failure> {
    let mut table = Table::new(&[("RELAY", Side::Left), ("ADDRESS", Side::Left), ("PROCESS", Side::Right)]);
    for Running { relay, child, .. } in running {
        if context.is_text() {
            let id = child.id().unwrap_or_default().to_string();
            table.row(vec![relay.name.clone(), relay.address.clone(), id]);
        } else {
            let value = json!({ "relay": relay.name, "address": relay.address, "process": child.id() });
            context.out.json(&value)?;
        }
    }
    table.write(&mut context.out)?;
    context.out.flush()?;
    let at = |relay: &Planned| {
        let is_default = relay.address == super::RELAY_DEFAULT;
        if is_default { String::new() } else { format!(" --relay {}", relay.address) }
    };
    if let (Some(first), Some(last)) = (running.first(), running.last()) {
        let (here, there) = (at(&first.relay), at(&last.relay));
        context.notes.note(format_args!(
            "\nIn another terminal:\n  treecast{there} subscription create news me\n  \
             treecast{here} put news 'hello'\n  treecast{there} get news --as me\n\
             Ctrl-C here stops the relays."
        ));
    }
    Ok(())
}

/// Waits until one dies, or the last one has stopped. One that somebody has stopped, since it was
/// drained or to see what then happens, takes nobody with it.
async fn first_death(running: &mut [Running], notes: Notes) -> Result<(), Failure> {
    while running.iter().any(|one| !one.has_stopped) {
        for one in running.iter_mut().filter(|one| !one.has_stopped) {
            match ended(&mut one.child) {
                Some(Ok(status)) if status.success() => {
                    notes.note(format_args!("relay {} has stopped", one.relay.name));
                    one.has_stopped = true;
                }
                Some(status) => return Err(death(&one.relay.name, status)),
                None => {}
            }
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Asks every child to stop, all at once, and waits for them.
async fn stop(running: Vec<Running>, context: &Context) {
    let mut ends = JoinSet::new();
    for Running { relay, mut child, telling, .. } in running {
        // Only a child that has not been waited for has an id: no other process can have it.
        if let Some(pid) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            let _ = kill_process(pid, Signal::INT);
        }
        ends.spawn(async move {
            let ended = timeout(STOP_WAIT, child.wait()).await;
            if ended.is_err() {
                let _ = child.kill().await;
            }
            if let Some(telling) = telling {
                // The last lines tell why it ended. Whoever else holds the pipe is not waited for.
                let _ = timeout(LOOK_EVERY, telling).await;
            }
            (relay.name, ended.is_ok())
        });
    }
    while let Some(end) = ends.join_next().await {
        if let Ok((name, false)) = end {
            context.notes.warning(format_args!("relay {name} did not stop in time and was killed"));
        }
    }
}
