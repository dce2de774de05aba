//! What one relay makes of a topology that it is told, and of one that it finds at its start.

use super::harness::{Harness, LINK, group, sub};
use super::links::Theirs;
use super::pull::{pulls, with_a_hole};
use crate::id::{LinkId, RelayId, StorageId, WallTime};
use crate::log::{Entry, Snapshot};
use crate::relay::Used;
use crate::relay::input::Input;
use crate::topology::TopologyVersion;
use crate::topology::settings::{Fifo, GroupSettings};
use crate::wire::applied::{TopologyEntry, TopologyHead};
use crate::wire::body::{
    Answer, FileStanding, RefusalCode, Reply, Request, SubscribeLevel, SubscriptionSpec,
};
use crate::wire::link::{Fact, GroupId, LinkMessage, LinkState, Membership, Version};

/// A file in which the tested relay has links to these.
pub(super) fn text(neighbours: &[&str]) -> String {
    let mut text = "version = 1\n[relay.r]\naddress = \"127.0.0.1:7000\"\n".to_owned();
    for (port, name) in (7001..).zip(neighbours) {
        text += &format!("[relay.{name}]\naddress = \"127.0.0.1:{port}\"\n");
        text += &format!("[[link]]\nbetween = [\"r\", \"{name}\"]\n");
    }
    text
}

pub(super) fn entry(counter: u64, text: String) -> TopologyEntry {
    let version = TopologyVersion::new(counter, &text);
    let head =
        TopologyHead { version, by: RelayId::new("o").unwrap(), at: WallTime(counter), restores: None };
    TopologyEntry { head, text }
}

impl Harness {
    /// Somebody tells a topology, and all its links come up.
    fn learn(&mut self, entry: TopologyEntry) -> Vec<(String, LinkId)> {
        self.input(Input::Topology { entry: Box::new(entry) });
        let links = self.neighbours();
        for (_, link) in &links {
            self.input(Input::LinkUp { link: *link, losses: true });
        }
        links
    }

    fn neighbours(&self) -> Vec<(String, LinkId)> {
        let links = self.relay.neighbours().unwrap_or_default();
        links.iter().map(|link| (link.relay.to_string(), link.link)).collect()
    }
}

#[test]
fn a_link_keeps_its_number_and_none_ever_has_that_of_another_neighbour() {
    let mut h = Harness::linked();
    let named = |links: &[(&str, u32)]| -> Vec<(String, LinkId)> {
        links.iter().map(|(name, link)| ((*name).to_owned(), LinkId(*link))).collect()
    };
    assert_eq!(h.learn(entry(1, text(&["o", "p"]))), named(&[("o", LINK.0), ("p", LINK.0 + 1)]));
    assert_eq!(h.learn(entry(2, text(&["p"]))), named(&[("p", LINK.0 + 1)]));
    let last = named(&[("n", LINK.0 + 2), ("p", LINK.0 + 1)]);
    assert_eq!(h.learn(entry(3, text(&["n", "p"]))), last);
    h.crash(&Snapshot::default());
    assert_eq!(h.neighbours(), last, "after a restart too, though n comes first in order");
    let back = named(&[("n", LINK.0 + 2), ("o", LINK.0), ("p", LINK.0 + 1)]);
    assert_eq!(h.learn(entry(4, text(&["n", "o", "p"]))), back);
}

/// All facts that it has said.
fn told(h: &Harness) -> Vec<Fact> {
    let facts = h
        .said
        .iter()
        .filter_map(|said| if let LinkMessage::Facts(facts) = said { Some(facts.clone()) } else { None });
    facts.flatten().collect()
}

#[test]
fn a_relay_that_was_alone_says_what_it_has_when_a_file_gives_it_links() {
    let mut h = Harness::new();
    h.subscribe("g", "s", SubscriptionSpec::default());
    h.set("kept", GroupSettings { history_count: Some(10), ..GroupSettings::default() });
    h.request(Request::GroupCreate { group: group("jobs"), settings: GroupSettings::default(), queue: true })
        .unwrap();
    h.link("o");
    h.crash(&Snapshot::default());
    h.meet(Vec::new());
    let told = told(&h);
    let has = |is_it: &dyn Fn(&Fact) -> bool| told.iter().any(is_it);
    assert!(has(&|fact| matches!(fact, Fact::Membership(m) if m.member && m.group.name == group("g"))));
    assert!(has(&|fact| matches!(fact, Fact::Name(entry) if entry.group.name == group("g"))));
    let is_entry = |fact: &Fact, name, is_queue| matches!(fact, Fact::Group(e) if e.group.name == group(name) && e.home.is_some() == is_queue);
    assert!(has(&|fact| is_entry(fact, "kept", false)) && has(&|fact| is_entry(fact, "jobs", true)));
    assert_eq!(told.iter().filter(|fact| matches!(fact, Fact::Group(_))).count(), 2, "{told:?}");
}

#[test]
fn a_relay_that_joins_takes_no_message_before_it_has_heard_who_is_a_member() {
    let mut h = Harness::new();
    let refused = |h: &mut Harness| {
        let before = h.notices.len();
        let g = h.open("g");
        h.put(g, &["one"]);
        h.notices.len() > before
    };
    h.input(Input::Topology { entry: Box::new(entry(1, text(&["o"]))) });
    assert!(refused(&mut h));
    h.crash(&Snapshot::default());
    assert!(refused(&mut h), "the file that it was started with has no links, and does not count");
    assert_eq!(h.neighbours(), [("o".to_owned(), LINK)]);
    h.meet(Vec::new());
    assert!(!refused(&mut h));
}

/// A queue of its own that the topology names is made when it has heard who is a member, and where the queue lives.
#[test]
fn r12_the_home_of_a_queue_that_joins_takes_no_message_before_it_has_heard_who_is_a_member() {
    let queue = "[queue.jobs]\nhome = \"r\"\n";
    let mut h = Harness::new();
    h.input(Input::Topology { entry: Box::new(entry(1, text(&["o"]) + queue)) });
    for is_started in [false, true] {
        if is_started {
            h.crash(&Snapshot::default());
        }
        let before = h.notices.len();
        let g = h.open("g");
        h.put(g, &["one"]);
        assert!(h.notices.len() > before, "started again: {is_started}");
    }
    let is_here = |h: &mut Harness| h.request(Request::GroupShow { group: group("jobs") }).is_ok();
    assert!(!is_here(&mut h), "it may have moved away since");
    h.meet(Vec::new());
    assert!(is_here(&mut h), "nobody knows of another home");
}

#[test]
fn r12_a_relay_that_a_topology_gives_links_makes_nothing_by_the_way_before_it_has_heard() {
    let is_made = |h: &mut Harness, name: &str| {
        let create = Some(SubscriptionSpec::default());
        let attach = Request::Attach { group: group("g"), name: Some(sub(name)), create };
        !h.request(attach).is_err_and(|refusal| refusal.code == RefusalCode::NotReady)
    };
    let mut h = Harness::new();
    assert!(is_made(&mut h, "alone"), "there is nobody to hear from");
    h.input(Input::Topology { entry: Box::new(entry(1, text(&["o"]))) });
    assert!(!is_made(&mut h, "early"));
    h.crash(&Snapshot::default());
    assert!(!is_made(&mut h, "early"), "the file that it was started with has no links, and does not count");
    h.meet(Vec::new());
    assert!(is_made(&mut h, "early"));
    // Whoever has lost all links has heard all that there is to hear, also after a restart.
    h.input(Input::Topology { entry: Box::new(entry(2, text(&[]))) });
    h.crash(&Snapshot::default());
    assert!(is_made(&mut h, "late"));
}

#[test]
fn what_was_asked_for_over_a_link_that_is_gone_is_asked_for_over_another_at_once() {
    let (mut h, _) = with_a_hole();
    h.learn(entry(1, text(&["o", "p"])));
    h.pass_ms(1_100);
    assert_eq!(pulls(&mut h).len(), 1);
    h.learn(entry(2, text(&["p"])));
    assert_eq!(pulls(&mut h).len(), 1);
}

#[test]
fn a_relay_that_is_drained_makes_no_queue_of_a_topology() {
    let queue = "[queue.jobs]\nhome = \"r\"\n";
    for drains in [false, true] {
        let mut h = Harness::linked();
        if drains {
            h.request(Request::RelayDrain { abandon: true }).unwrap();
        }
        h.learn(entry(1, text(&["o"]) + queue));
        let is_made = h.relay.groups.number(&group("jobs")).is_some();
        assert_eq!(is_made, !drains, "drained: {drains}");
    }
}

#[test]
fn a_relay_that_is_left_out_does_not_say_that_others_know_of_a_subscription() {
    let mut h = Harness::linked();
    let without = "version = 1\n[relay.o]\naddress = \"127.0.0.1:7001\"\n".to_owned();
    let state = LinkState::new(RelayId::new("o").unwrap(), Version { counter: 1, ..Version::default() });
    h.hear(LinkMessage::Facts(vec![Fact::LinkState(state)]));
    // A relay that is no neighbour tells only those that are in it: it comes over the link.
    h.hear(LinkMessage::Facts(vec![Fact::Topology(Box::new(entry(1, text(&["o"]))))]));
    h.hear(LinkMessage::Facts(vec![Fact::Topology(Box::new(entry(2, without)))]));
    assert_eq!(h.neighbours(), []);
    let spec = |level| SubscriptionSpec { level, within_ms: Some(100), ..SubscriptionSpec::default() };
    let create = |name: &str, level| Request::SubscriptionCreate {
        group: group("g"),
        name: super::harness::sub(name),
        spec: spec(level),
    };
    let strict = h.ask(create("strict", SubscribeLevel::Strict));
    h.pass_ms(200);
    let refusal = h.answers.remove(&strict).unwrap().unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Deadline, "{refusal}");
    h.request(create("local", SubscribeLevel::Local)).unwrap();
}

#[test]
fn a_relay_that_was_alone_with_messages_takes_more_after_it_has_become_the_first_of_a_network() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.put(g, &["one"]);
    h.request(Request::TopologyApply { text: text(&["o"]), base: None, restores: None }).unwrap();
    h.crash(&Snapshot::default());
    let g = h.open("g");
    h.put(g, &["two"]);
    assert_eq!(h.done.len(), 2, "it knows all members: there were no others");
}

#[test]
fn the_role_of_a_relay_is_that_of_the_topology_in_force_also_after_a_restart() {
    let mut h = Harness::linked();
    let leaf = "transit = false\nmax_children = 3\n[relay.o]";
    h.learn(entry(1, text(&["o"]).replacen("[relay.o]", leaf, 1)));
    let said = |h: &Harness| {
        let mut states = told(h)
            .into_iter()
            .filter_map(|fact| if let Fact::LinkState(state) = fact { Some(state) } else { None });
        states.next_back().map(|state| (state.transit, state.max_children, state.topology.map(|v| v.counter)))
    };
    assert_eq!(said(&h), Some((false, Some(3), Some(1))));
    h.learn(entry(2, text(&["o"])));
    assert_eq!(said(&h), Some((true, None, Some(2))));
    h.learn(entry(3, text(&["o"]).replacen("[relay.o]", leaf, 1)));
    h.crash(&Snapshot::default());
    h.said.clear();
    h.meet(Vec::new());
    assert_eq!(said(&h), Some((false, Some(3), Some(3))));
}

/// The topology that is shown, and the versions of those that are said to be kept.
fn shown(answer: Option<Answer>) -> (Option<u64>, Vec<u64>) {
    match answer {
        Some(Ok(Reply::Topology(info))) => {
            let kept = info.kept.iter().map(|head| head.version.counter).collect();
            (info.entry.map(|entry| entry.head.version.counter), kept)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_topology_is_shown_when_it_is_on_the_disk() {
    let mut h = Harness::linked();
    h.learn(entry(1, text(&["o"])));
    let show = || Request::TopologyShow { version: None, hash: None };
    h.auto_sync = false;
    let asked = h.ask(show());
    assert_eq!(shown(h.answers.remove(&asked)), (Some(1), vec![1]), "nothing waits for the disk");
    h.input(Input::Topology { entry: Box::new(entry(2, text(&["o", "p"]))) });
    h.input(Input::Topology { entry: Box::new(entry(3, text(&["o"]))) });
    let asked = [show(), Request::TopologyShow { version: Some(2), hash: None }].map(|show| h.ask(show));
    assert!(asked.iter().all(|asked| !h.answers.contains_key(asked)), "they are not on the disk");
    h.sync();
    for (asked, version) in asked.into_iter().zip([3, 2]) {
        assert_eq!(shown(h.answers.remove(&asked)), (Some(version), vec![3, 2, 1]));
    }
    // What was not synced is lost with a crash, and was shown to nobody.
    h.input(Input::Topology { entry: Box::new(entry(4, text(&["p"]))) });
    let asked = h.ask(show());
    h.auto_sync = true;
    h.crash(&Snapshot::default());
    assert!(!h.answers.contains_key(&asked));
    assert_eq!(shown(Some(h.request(show()))), (Some(3), vec![3, 2, 1]));
}

/// How a group is set.
fn settings(h: &mut Harness, name: &str) -> GroupSettings {
    match h.request(Request::GroupShow { group: group(name) }) {
        Ok(Reply::Group(info)) => info.settings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_sets_groups_that_depend_on_one_another_and_contradicts_none_that_it_leaves_out() {
    let mut h = Harness::linked();
    h.meet(Vec::new());
    h.set("dead", GroupSettings { fifo: Fifo::Producer, ..GroupSettings::default() });
    let sends = "[group.a]\nmax_deliver = 3\ndead_letter = \"dead\"\n";
    let apply = |text: String| Request::TopologyApply { text, base: None, restores: None };
    let refusal = h.request(apply(text(&["o"]) + sends)).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Invalid);
    assert!(refusal.message.contains("`dead` cannot take the dead letters of `a`"), "{refusal}");
    assert!(h.request(Request::GroupShow { group: group("a") }).is_err(), "nothing was done");
    // The group that comes first in the file can be set behind the other one only.
    let takes = "[group.dead]\nfifo = \"origin\"\n";
    h.request(apply(text(&["o"]) + sends + takes)).unwrap();
    assert_eq!(settings(&mut h, "dead").fifo, Fifo::Origin);
    assert_eq!(settings(&mut h, "a").dead_letter.as_deref(), Some("dead"));
    let warned = h.relay.warnings();
    assert!(warned.iter().all(|w| !w.contains("is not as the topology")), "{warned:?}");
}

#[test]
fn a_file_that_is_applied_again_sets_again_what_was_set_otherwise_since() {
    let mut h = Harness::linked();
    let file = text(&["o"]) + "[group.a]\nttl = \"1h\"\n";
    let apply = |base| Request::TopologyApply { text: file.clone(), base, restores: None };
    let base = match h.request(apply(None)) {
        Ok(Reply::TopologyApplied(head)) => head.version,
        other => panic!("{other:?}"),
    };
    h.set("a", GroupSettings::default());
    h.request(apply(Some(base))).unwrap();
    assert_eq!(settings(&mut h, "a").ttl_ms, Some(3_600_000));
}

#[test]
fn p12_a_topology_that_counts_beyond_all_reason_is_not_taken() {
    let mut h = Harness::linked();
    for counter in [u64::MAX, crate::limits::SEQUENCE_MAX + 1, crate::limits::SEQUENCE_MAX] {
        let told = Box::new(entry(counter, text(&["o"])));
        h.request(Request::TopologyTell { entry: told }).unwrap();
        assert!(h.relay.topology().is_none(), "{counter}");
    }
    h.request(Request::TopologyApply { text: text(&["o"]), base: None, restores: None }).unwrap();
}

/// The file of the start and the first topology are two entries of the log.
#[test]
fn a_power_cut_between_the_file_and_the_first_topology_that_is_applied_leaves_the_file() {
    let mut h = Harness::linked();
    let file = text(&["o"]);
    h.relay.set_topology_file(file.clone());
    h.auto_sync = false;
    h.ask(Request::TopologyApply { text: text(&["o", "p"]), base: None, restores: None });
    let set = |entry: &Entry| matches!(entry, Entry::State(state) if state.windows(11).any(|part| part == b"TopologySet"));
    let last = h.log.iter().rposition(set).expect("it was written");
    assert_eq!(h.log.iter().filter(|entry| set(entry)).count(), 2);
    h.durable = last;
    h.crash(&Snapshot::default());
    h.relay.set_topology_file(file.clone());
    h.auto_sync = true;
    h.meet(Vec::new());
    let Ok(Reply::Topology(info)) = h.request(Request::TopologyShow { version: None, hash: None }) else {
        panic!()
    };
    assert_eq!(info.entry.expect("the file").text, file);
    let base = info.kept.first().map(|head| head.version);
    let applied = h.request(Request::TopologyApply { text: text(&["o", "p"]), base, restores: None });
    assert!(matches!(applied, Ok(Reply::TopologyApplied(_))), "{applied:?}");
    let Ok(Reply::Topology(info)) = h.request(Request::TopologyShow { version: None, hash: None }) else {
        panic!()
    };
    assert_eq!(info.kept.iter().map(|head| head.version.counter).collect::<Vec<_>>(), [1, 0]);
}

/// A relay may be started with a file of some MiB; an answer with it would end the session of whoever
/// asks, and so would everything that begins with that question.
#[test]
fn a_file_that_is_too_long_for_an_answer_is_left_out_of_it() {
    let mut h = Harness::linked();
    let file = format!("{}#{}", text(&["o"]), " ".repeat(crate::limits::TOPOLOGY_BYTES_MAX));
    h.relay.set_topology_file(file);
    let Answer::Ok(Reply::Topology(info)) = h.request(Request::TopologyShow { version: None, hash: None })
    else {
        panic!("it is answered without the text");
    };
    assert_eq!((info.entry, info.file), (None, FileStanding::Used));
    let Answer::Err(refusal) = h.request(Request::TopologyShow { version: Some(0), hash: None }) else {
        panic!("there is no text to be shown");
    };
    assert_eq!(refusal.code, RefusalCode::TooLarge);
    let apply = Request::TopologyApply { text: text(&["o"]), base: None, restores: None };
    assert!(matches!(h.request(apply), Answer::Ok(Reply::TopologyApplied(_))));
}

#[test]
fn a_cost_that_was_measured_before_one_was_set_does_not_take_its_place() {
    let mut h = Harness::linked();
    h.learn(entry(1, text(&["o"]) + "cost = 7\n"));
    // It was on its way here when the topology came.
    h.input(Input::LinkCost { link: LINK, cost: 48 });
    assert_eq!(h.relay.links.table[&LINK].cost, 7);
}

#[test]
fn p11_the_books_of_a_link_that_is_taken_away_and_given_back_add_up() {
    let mut h = Harness::linked();
    h.subscribe("g", "s", SubscriptionSpec::default());
    let mut theirs = Theirs::begin(1);
    theirs.put("a");
    h.hear(theirs.name());
    theirs.send(&mut h, 0..2);
    let records = |h: &mut Harness, group| match h.request(Request::Books { group }) {
        Ok(Reply::Books(books)) => books.links.iter().map(|link| link.counts.received.records).sum::<u64>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(records(&mut h, None), 2);
    h.learn(entry(1, text(&["p"])));
    h.learn(entry(2, text(&["o"])));
    let of_group = records(&mut h, Some(group("g")));
    assert_eq!((of_group, records(&mut h, None)), (2, 2), "of the group, and of all groups");
}

#[test]
fn the_file_of_the_start_is_told_to_be_old_only_if_it_was_old_then() {
    let mut h = Harness::linked();
    let is_told =
        |h: &Harness| h.relay.topology_warnings().iter().any(|told| told.contains("the file is not used"));
    let started = h.now.wall.0;
    h.relay.set_topology_file(text(&["o"]));
    let at = |at: u64, counter: u64, text: String| {
        let mut entry = entry(counter, text);
        entry.head.at = WallTime(at);
        entry
    };
    h.learn(at(started + 1_000_000, 1, text(&["o", "p"])));
    assert!(!is_told(&h), "it is what was applied that changed");
    h.learn(at(started.saturating_sub(1), 2, text(&["o", "p", "q"])));
    assert!(is_told(&h), "it was applied before, and heard of now");
    h.learn(at(started.saturating_sub(1), 3, text(&["o"])));
    assert!(!is_told(&h), "it says the same");
}

/// Whoever starts next looks for it at the address that it does not listen at yet.
#[test]
fn a_relay_whose_address_is_another_one_than_at_its_start_says_so() {
    for was_applied in [false, true] {
        let mut h = Harness::linked();
        h.relay.set_topology_file(text(&["o"]));
        if was_applied {
            h.learn(entry(1, text(&["o"])));
            h.crash(&Snapshot::default());
        }
        assert_eq!(h.relay.topology_warnings(), [] as [String; 0]);
        h.learn(entry(2, text(&["o"]).replace("127.0.0.1:7000", "127.0.0.1:8000")));
        let told = h.relay.topology_warnings();
        assert!(
            told.iter().any(|told| told.contains("has this relay at 127.0.0.1:8000: it listens there from")),
            "{was_applied}: {told:?}"
        );
    }
}

#[test]
fn what_a_relay_uses_and_the_topology_has_otherwise_is_told() {
    let mut h = Harness::linked();
    let sizes = "segment_bytes = \"32MiB\"\nreserve_bytes = \"128MiB\"\n";
    let own = format!("address = \"127.0.0.1:7000\"\ndata = \"/var/lib/r\"\n{sizes}");
    let file = text(&["o"]).replace("address = \"127.0.0.1:7000\"\n", &own);
    let used = |data: &str, segment: u64| Used {
        data: Some(data.into()),
        segment_bytes: Some(segment << 20),
        reserve_bytes: Some(128 << 20),
    };
    h.learn(entry(1, file));
    h.relay.note_used(used("/home/me/treecast/r", 128));
    let told = h.relay.topology_warnings().join("\n");
    assert!(
        told.contains(
            "has data = \"/var/lib/r\" for this relay, which keeps its data in /home/me/treecast/r"
        ),
        "{told}"
    );
    assert!(told.contains("has segment_bytes = \"32MiB\" for this relay, which uses 128MiB"), "{told}");
    assert!(!told.contains("reserve_bytes"), "{told}");
    h.relay.note_used(used("/var/lib/r", 32));
    assert_eq!(h.relay.topology_warnings(), [] as [String; 0]);
    // What an option says the operator knows.
    h.relay.note_used(Used::default());
    assert_eq!(h.relay.topology_warnings(), [] as [String; 0]);
}

/// Both are kept where both were heard of, and told apart by their hashes.
#[test]
fn of_two_of_one_version_each_can_be_asked_for() {
    let mut h = Harness::linked();
    let mut both = [entry(1, text(&["o"])), entry(1, text(&["o", "p"]))];
    both.sort_by(|one, other| one.head.cmp(&other.head));
    for entry in &both {
        h.learn(entry.clone());
    }
    let mut shown = |version, hash| {
        let Ok(Reply::Topology(info)) = h.request(Request::TopologyShow { version, hash }) else {
            panic!("there is one")
        };
        info.entry
    };
    assert_eq!(shown(None, None).as_ref(), Some(&both[1]));
    assert_eq!(shown(Some(1), None).as_ref(), Some(&both[1]), "the one that has overtaken the other");
    for entry in &both {
        assert_eq!(shown(Some(1), Some(entry.head.version.hash)).as_ref(), Some(entry));
    }
    let Err(refusal) = h.request(Request::TopologyShow { version: Some(1), hash: Some(7) }) else {
        panic!("there is none")
    };
    assert_eq!(refusal.code, RefusalCode::NotFound);
}

/// It is said in a version of its own: the home hears of no other topology.
#[test]
fn settings_of_a_queue_elsewhere_are_set_again_by_the_same_text() {
    let mut h = Harness::linked();
    let text = text(&["o"]) + "[queue.jobs]\nhome = \"o\"\nttl = \"1h\"\n";
    let apply = |h: &mut Harness, base| {
        let applied = h.request(Request::TopologyApply { text: text.clone(), base, restores: None });
        let Ok(Reply::TopologyApplied(head)) = applied else { panic!("{applied:?}") };
        Some(head.version)
    };
    let base = apply(&mut h, None);
    let settings = GroupSettings { ttl_ms: Some(420_000), ..GroupSettings::default() };
    h.request(Request::GroupSet { group: group("jobs"), settings }).unwrap();
    h.said.clear();
    assert_eq!(apply(&mut h, base), base);
    let is_set = |fact: &Fact| matches!(fact, Fact::Group(e) if e.settings.ttl_ms == Some(3_600_000) && e.home.is_some());
    assert!(told(&h).iter().any(is_set), "{:?}", told(&h));
    h.said.clear();
    assert_eq!(apply(&mut h, base), base);
    assert!(!told(&h).iter().any(|fact| matches!(fact, Fact::Group(_))), "nothing is to be set");
}

/// That a relay is a member of a name may be heard before that it is a queue.
#[test]
fn a_name_of_which_only_a_member_was_heard_is_no_group_that_a_queue_cannot_be_made_of() {
    let mut h = Harness::linked();
    let (relay, version) = (RelayId::new("o").unwrap(), Version { counter: 1, storage: StorageId([9; 16]) });
    let group = GroupId { name: group("jobs"), incarnation: 0 };
    let member = Membership { group, relay, version, member: true };
    h.hear(LinkMessage::Facts(vec![Fact::Membership(member)]));
    h.set("news", GroupSettings::default());
    let mut apply = |queue: &str| {
        let text = text(&["o"]) + &format!("[queue.{queue}]\nhome = \"o\"\n");
        h.request(Request::TopologyApply { text, base: None, restores: None })
    };
    let refused = apply("news").unwrap_err();
    assert_eq!(refused.message, "news exists as a group, and is a queue in the file");
    assert!(matches!(apply("jobs"), Ok(Reply::TopologyApplied(_))), "it is none");
}
