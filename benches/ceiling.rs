//! The ceiling: how fast this machine lets any durable relay be.
//!
//! A bare server in a process of its own moves fixed-size messages over
//! loopback TCP, appends them to a zero-filled file that was laid out before,
//! syncs that file and only then acks, and passes them on. It has no names, no
//! headers, no checksums, no index, no cursors and no recovery, so what a
//! relay falls short of it is the price of being a relay.
//!
//! Commits come in groups without a timer: the next `fdatasync` starts when
//! the previous one returns, for everything written meanwhile.
//!
//! ```text
//! cargo bench --bench ceiling -- put --size 1024 --count 1000000
//! cargo bench --bench ceiling -- fanout --subscriptions 100 --connections 10
//! ```
//!
//! The load comes from the same generator as for every other system (see
//! `load`), over this protocol, little-endian:
//!
//! | direction | bytes |
//! | --- | --- |
//! | hello | role `P`, `S` or `D`, first subscription u32, subscriptions u32 |
//! | answer | one byte, once the connection counts |
//! | publisher → | messages of `size` bytes, nothing between them |
//! | → publisher | u64: messages of this connection that are durable |
//! | → subscriber | subscription u32, messages u32, then those messages |
//!
//! Role `S` gets what is put from now on, role `D` what the file holds.
//! Deliveries are not acked.

mod load;
#[path = "ceiling/server.rs"]
mod server;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

use clap::Parser;

use load::codec::{Codec, Events, Link, Target};
use load::{Mode, Workload};

/// Measures how fast this machine lets any durable relay be.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    workload: Workload,
    /// Connections that carry the deliveries [default: one per subscription]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    connections: Option<u32>,
    /// Write nothing while a sync runs, as an engine does whose blocks each prove the one before
    #[arg(long)]
    in_turns: bool,
    /// Folder of the file that is synced [default: the folder for temporary files]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// First argument of the server's process, which is this program again.
const SERVE: &str = "serve";

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let outcome = match words.first() {
        None => load::report::hint("ceiling -- put --size 1024"),
        Some(word) if word == SERVE => server::serve(&server::Serve::parse_from(words)),
        Some(_) => measure(Arguments::parse()),
    };
    load::report::exit_code("ceiling", outcome)
}

fn measure(arguments: Arguments) -> io::Result<()> {
    let data = arguments.data.unwrap_or_else(std::env::temp_dir);
    let mut target =
        Ceiling { connections: arguments.connections, in_turns: arguments.in_turns, data, running: None };
    load::run("ceiling", &mut target, &arguments.workload)?.print()
}

/// The server seen from the generator.
struct Ceiling {
    connections: Option<u32>,
    in_turns: bool,
    data: PathBuf,
    running: Option<Running>,
}

struct Running {
    process: Child,
    port: u16,
    workload: Workload,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It also ends by itself when its standard input does.
        if self.process.kill().is_ok() {
            self.process.wait().ok();
        }
    }
}

/// Bytes of the file unless a backlog must fit: beyond what a disk's own
/// cache would hide, and still quick to lay out.
const FILE_BYTES: u64 = 256 << 20;

impl Ceiling {
    fn running(&self) -> io::Result<&Running> {
        self.running.as_ref().ok_or_else(|| io::Error::other("the ceiling's server is not running"))
    }

    fn link(&self, role: u8, first: u32, subscriptions: u32) -> io::Result<Link> {
        let running = self.running()?;
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, running.port))?;
        stream.set_nodelay(true)?;
        let mut hello = vec![role];
        hello.extend_from_slice(&first.to_le_bytes());
        hello.extend_from_slice(&subscriptions.to_le_bytes());
        stream.write_all(&hello)?;
        stream.read_exact(&mut [0])?;
        let size = running.workload.size as usize;
        let codec = BareCodec { size, is_publisher: role == b'P', acked: 0, subscription: 0, left: 0 };
        Ok(Link { stream, codec: Box::new(codec), unread: Vec::new() })
    }
}

impl Target for Ceiling {
    fn prepare(&mut self, workload: &Workload) -> io::Result<()> {
        let total = workload.count * u64::from(workload.size);
        let file_bytes = if workload.mode == Mode::Drain { total } else { FILE_BYTES };
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(SERVE).arg("--size").arg(workload.size.to_string());
        command.arg("--file-bytes").arg(file_bytes.to_string()).arg("--data").arg(&self.data);
        if matches!(workload.mode, Mode::Fanout | Mode::Latency) {
            command.arg("--delivers");
        }
        if self.in_turns {
            command.arg("--in-turns");
        }
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let out = process.stdout.take().ok_or_else(|| io::Error::other("the server has no output"))?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let port = line.trim().parse().map_err(|_| io::Error::other("the server named no port"))?;
        self.running = Some(Running { process, port, workload: workload.clone() });
        Ok(())
    }

    fn publisher(&self) -> io::Result<Link> {
        self.link(b'P', 0, 0)
    }

    fn subscribers(&self) -> io::Result<Vec<Link>> {
        let workload = &self.running()?.workload;
        let role = if workload.mode == Mode::Drain { b'D' } else { b'S' };
        let all = workload.subscriptions;
        let connections = self.connections.unwrap_or(all).min(all);
        let bounds = |index| index * all / connections;
        let links = (0..connections).map(|index| (bounds(index), bounds(index + 1)));
        links.map(|(from, to)| self.link(role, from, to - from)).collect()
    }

    fn pids(&self) -> Vec<u32> {
        self.running.iter().map(|running| running.process.id()).collect()
    }
}

/// Both directions of the bare protocol.
struct BareCodec {
    size: usize,
    is_publisher: bool,
    acked: u64,
    subscription: usize,
    left: u32,
}

impl Codec for BareCodec {
    fn put(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(payload);
    }

    fn decode(&mut self, input: &[u8], _: &mut Vec<u8>, events: &mut dyn Events) -> io::Result<usize> {
        let mut rest = input;
        if self.is_publisher {
            while let Some((durable, behind)) = rest.split_first_chunk() {
                let durable = u64::from_le_bytes(*durable);
                events.acked(durable - self.acked);
                (self.acked, rest) = (durable, behind);
            }
            return Ok(input.len() - rest.len());
        }
        loop {
            if self.left > 0 {
                let Some((message, behind)) = rest.split_at_checked(self.size) else { break };
                events.delivered(self.subscription, message);
                self.left -= 1;
                rest = behind;
            } else {
                let Some((subscription, behind)) = rest.split_first_chunk() else { break };
                let Some((messages, behind)) = behind.split_first_chunk() else { break };
                self.subscription = u32::from_le_bytes(*subscription) as usize;
                self.left = u32::from_le_bytes(*messages);
                rest = behind;
            }
        }
        Ok(input.len() - rest.len())
    }
}
