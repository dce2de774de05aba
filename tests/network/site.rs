//! A network as it is built: relays at fixed addresses, and a proxy in every link.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::client::Connection;
use super::process::{Ended, RelayProcess, Start};
use super::proxy::Proxy;
use super::traffic::{PATIENCE, wait_for};

/// A loopback address that no other test uses.
pub(crate) fn own_address() -> String {
    static MADE: AtomicU32 = AtomicU32::new(1);
    let (process, made) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    format!("127.{}.{}.{made}", 1 + (process >> 8) % 250, process & 0xff)
}

/// A relay of the network, running or not.
pub(crate) struct Site {
    pub(crate) name: String,
    pub(crate) data: PathBuf,
    pub(crate) file: PathBuf,
    /// Where applications and the proxies find it.
    pub(crate) address: String,
    /// Where it listens, if that is said otherwise.
    pub(crate) listen: String,
    /// What starts it.
    pub(crate) under: Vec<String>,
    process: Option<RelayProcess>,
    /// What its processes that have ended wrote to standard error.
    logs: String,
}

impl Site {
    pub(crate) fn new(directory: &Path, name: &str, address: &str) -> Self {
        Self {
            name: name.to_owned(),
            data: directory.join(name),
            file: directory.join(format!("{name}.toml")),
            address: address.to_owned(),
            listen: address.to_owned(),
            under: Vec::new(),
            process: None,
            logs: String::new(),
        }
    }

    pub(crate) fn process(&self) -> &RelayProcess {
        self.process.as_ref().expect("it runs")
    }

    #[track_caller]
    pub(crate) fn start(&mut self) {
        let file = self.file.to_str().expect("text");
        let words: Vec<&str> = self.under.iter().map(String::as_str).collect();
        let start = Start::new(&self.data).listen(&self.listen);
        let start = start.args(&["--topology", file, "--name", &self.name]).under(&words);
        self.process = Some(start.start());
    }

    #[track_caller]
    pub(crate) fn kill(&mut self) {
        let ended = self.process.take().expect("it runs").kill();
        self.logs.push_str(&ended.log);
    }

    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let ended: Ended = self.process.take().expect("it runs").stop();
        ended.expect_code(0);
        self.logs.push_str(&ended.log);
    }

    /// All that its processes have written to standard error.
    pub(crate) fn log(&self) -> String {
        let now = self.process.as_ref().map(RelayProcess::log).unwrap_or_default();
        format!("{}{now}", self.logs)
    }

    /// How often it has said something.
    pub(crate) fn said(&self, words: &str) -> usize {
        self.log().matches(words).count()
    }
}

/// What a relay says when it loses a neighbour.
pub(crate) const DOWN: &str = "the link is down";

/// What it says when it has one.
const UP: &str = "the link is up";

/// A link between two sites, by their places. The first connects to the second, through the proxy.
pub(crate) struct Cable {
    pub(crate) ends: (usize, usize),
    pub(crate) proxy: Proxy,
}

/// A network of sites.
pub(crate) struct Network {
    pub(crate) host: String,
    pub(crate) sites: Vec<Site>,
    pub(crate) cables: Vec<Cable>,
    pub(crate) directory: tempfile::TempDir,
}

impl Network {
    /// Relays called a, b, c, … and links between them, none of them started. The relay whose name
    /// is smaller connects, so links are pairs in order.
    pub(crate) async fn plan(count: usize, links: &[(usize, usize)], hello: Duration) -> Self {
        let (host, directory) = (own_address(), tempfile::tempdir().expect("a directory"));
        let name = |place: usize| char::from(b'a' + place as u8).to_string();
        let address = |place: usize| format!("{host}:{}", 7001 + place);
        let sites: Vec<Site> =
            (0..count).map(|place| Site::new(directory.path(), &name(place), &address(place))).collect();
        let mut cables = Vec::new();
        for (number, ends) in links.iter().copied().enumerate() {
            assert!(ends.0 < ends.1, "the first connects");
            let proxy = Proxy::start_at(&format!("{host}:{}", 8001 + number), &address(ends.1)).await;
            cables.push(Cable { ends, proxy });
        }
        let network = Self { host, sites, cables, directory };
        for place in 0..count {
            let at = |other| network.address_for(place, other);
            write_file(&network.sites, place, links, (hello, &at));
        }
        network
    }

    pub(crate) async fn start(count: usize, links: &[(usize, usize)]) -> Self {
        Self::start_at_pace(count, links, Duration::from_millis(100)).await
    }

    /// The same, with another pause between two signs of life.
    pub(crate) async fn start_at_pace(count: usize, links: &[(usize, usize)], hello: Duration) -> Self {
        let mut network = Self::plan(count, links, hello).await;
        for place in 0..count {
            network.begin(place);
        }
        network
    }

    /// a – b – c – …
    pub(crate) async fn line(count: usize) -> Self {
        let links: Vec<(usize, usize)> = (1..count).map(|place| (place - 1, place)).collect();
        Self::start(count, &links).await
    }

    /// a – b – c – … – a
    pub(crate) async fn ring(count: usize) -> Self {
        let mut links: Vec<(usize, usize)> = (1..count).map(|place| (place - 1, place)).collect();
        links.push((0, count - 1));
        Self::start(count, &links).await
    }

    /// Where one relay's file says that another is: behind the proxy of their link, or where it is.
    fn address_for(&self, place: usize, other: usize) -> String {
        let cable = self.cables.iter().find(|cable| cable.ends == (place, other));
        cable.map_or_else(|| self.sites[other].address.clone(), |cable| cable.proxy.address.clone())
    }

    #[track_caller]
    pub(crate) fn begin(&mut self, place: usize) {
        self.sites[place].start();
    }

    #[track_caller]
    pub(crate) fn kill(&mut self, place: usize) {
        self.sites[place].kill();
    }

    pub(crate) fn address(&self, place: usize) -> &str {
        &self.sites[place].address
    }

    pub(crate) fn cable(&self, one: usize, other: usize) -> &Proxy {
        let ends = (one.min(other), one.max(other));
        &self.cables.iter().find(|cable| cable.ends == ends).expect("there is such a link").proxy
    }

    /// Waits until a relay has had so many links in all.
    pub(crate) async fn wait_links(&self, place: usize, count: usize) {
        let site = &self.sites[place];
        wait_for("the links are up", async || site.said(UP) >= count).await;
    }

    /// How often all relays together have lost a neighbour.
    pub(crate) fn downs(&self) -> usize {
        self.sites.iter().map(|site| site.said(DOWN)).sum()
    }

    /// Records that came over any link and were there already, and all that came.
    pub(crate) async fn repeats(&self) -> (u64, u64) {
        let (mut repeats, mut all) = (0, 0);
        for site in &self.sites {
            let books = Connection::open(&site.address).await.books().await;
            repeats += books.links.iter().map(|link| link.counts.repeats).sum::<u64>();
            all += books.links.iter().map(|link| link.counts.received.records).sum::<u64>();
        }
        (repeats, all)
    }

    /// The books of all relays balance.
    pub(crate) async fn check_books(&self) {
        for site in &self.sites {
            let books = Connection::open(&site.address).await.books().await;
            assert!(books.balanced, "{}: {books:?}", site.name);
        }
    }

    /// Nobody needs anything any more, so after a while nothing is kept anywhere.
    pub(crate) async fn check_nothing_kept(&self) {
        for site in &self.sites {
            let connection = Connection::open(&site.address).await;
            let begun = Instant::now();
            while connection.group().await.messages > 0 {
                if begun.elapsed() > PATIENCE {
                    panic!("{} keeps {}", site.name, connection.describe().await);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Writes the file of one relay, with the addresses that it is to use for the others.
pub(crate) fn write_file(
    sites: &[Site],
    place: usize,
    links: &[(usize, usize)],
    (hello, address): (Duration, &dyn Fn(usize) -> String),
) {
    let mut text = "version = 1\n".to_owned();
    for (number, site) in sites.iter().enumerate() {
        text += &format!("[relay.{}]\naddress = \"{}\"\n", site.name, address(number));
    }
    for (one, other) in links {
        let (one, other) = (&sites[*one].name, &sites[*other].name);
        text +=
            &format!("[[link]]\nbetween = [\"{one}\", \"{other}\"]\nhello = \"{}ms\"\n", hello.as_millis());
    }
    std::fs::write(&sites[place].file, text).expect("it is written");
}
