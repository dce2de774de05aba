//! What an application says to a home elsewhere takes no more of the link than a link may have (P12).

use super::harness::{Harness, LINK, SESSION, group, sub};
use crate::id::{Index, RelayId, SessionId, StorageId};
use crate::limits;
use crate::relay::Input;
use crate::wire::body::{Notice, RefusalCode, Reply, Request, SubscriptionSpec};
use crate::wire::circuit::{CircuitFrame, CircuitHead, CircuitId, CircuitSays};
use crate::wire::frame::{Ack, AckKind, Credit};
use crate::wire::link::{Advertised, Fact, GroupId, LinkMessage, LinkState, Membership, NameEntry, Version};

/// What was said over circuits since the last look.
fn over_circuits(h: &mut Harness) -> Vec<CircuitFrame> {
    let said = std::mem::take(&mut h.said);
    let frames = said
        .into_iter()
        .filter_map(|message| if let LinkMessage::Circuit(frame) = message { Some(*frame) } else { None });
    frames.collect()
}

/// A relay whose neighbour `o` is the home of subscription `s` of group `g`, an application that is
/// attached to it there, and its handle.
fn attached() -> (Harness, u32) {
    let mut h = Harness::linked();
    let (relay, id) = (RelayId::new("o").unwrap(), GroupId { name: group("g"), incarnation: 0 });
    let version = Version { counter: 1, storage: StorageId([9; 16]) };
    let mut state = LinkState::new(relay.clone(), version);
    state.links = vec![Advertised { neighbour: RelayId::new("r").unwrap(), cost: 1, is_up: true }];
    let spec = Some(SubscriptionSpec::default());
    h.hear(LinkMessage::Facts(vec![
        Fact::LinkState(state),
        Fact::Membership(Membership { group: id.clone(), relay: relay.clone(), version, member: true }),
        Fact::Name(NameEntry { group: id, name: sub("s"), home: relay, version, spec }),
    ]));
    h.pass_ms(2_000);
    h.said.clear();
    let attach = Request::Attach { group: group("g"), name: Some(sub("s")), create: None };
    let attached = h.ask(attach);
    let [CircuitFrame { head, says: CircuitSays::Request { request, .. } }] = &over_circuits(&mut h)[..]
    else {
        panic!("it is led there")
    };
    let head = CircuitHead { is_back: true, sequence: 0, ..head.clone() };
    let (name, created, window, moves) = (sub("s"), false, 1024, 7);
    let answer =
        Box::new(Ok(Reply::SubscriptionHandle { handle: 3, name, created, window, moves, begun: None }));
    let says = CircuitSays::Answer { request: *request, answer };
    h.hear(LinkMessage::Circuit(Box::new(CircuitFrame { head, says })));
    let Some(Ok(Reply::SubscriptionHandle { handle, .. })) = h.answers.remove(&attached) else {
        panic!("{:?}", h.answers)
    };
    h.input(Input::LinkWritten { link: LINK, total: u64::MAX });
    (h, handle)
}

#[test]
fn p12_of_the_credits_in_a_frame_a_home_is_told_the_last() {
    let (mut h, handle) = attached();
    let credits = [7, 3, 9, 8].map(|total| Credit { handle, total }).to_vec();
    h.input(Input::Credit { session: SESSION, credits });
    let told: Vec<u64> = over_circuits(&mut h)
        .into_iter()
        .filter_map(
            |frame| if let CircuitSays::Credit(credit) = frame.says { Some(credit.total) } else { None },
        )
        .collect();
    assert_eq!(told, [9]);
}

#[test]
fn p12_a_circuit_whose_link_takes_nothing_ends_before_it_fills_the_memory() {
    let (mut h, handle) = attached();
    let (kind, delay_ms) = (AckKind::Ack, 0);
    let ack = |index: u64| Ack { handle, kind, from: Index(2 * index), to: Index(2 * index + 1), delay_ms };
    let acks: Vec<Ack> = (1..30_000_u64).map(ack).collect();
    let mut bytes = 0;
    for _ in 0..100 {
        h.input(Input::Ack { session: SESSION, acks: acks.clone() });
        bytes += h.said.drain(..).map(|said| said.bytes()).sum::<u64>();
    }
    let most = limits::CIRCUITS_LINK_BYTES_MAX + 30_002 * 64;
    assert!(bytes <= most, "{bytes} bytes wait for the link, {most} may");
    // Its application is told as soon as the hole is there, and may try again.
    let is_it =
        |n: &&Notice| matches!(n, Notice::Detached { refusal, .. } if refusal.code == RefusalCode::NotReady);
    h.pass_ms(limits::CIRCUIT_SILENT_MS + limits::CIRCUIT_PING_MS);
    assert_eq!(h.notices.iter().filter(is_it).count(), 1, "{:?}", h.notices);
    let refused = h.request(Request::Sync).unwrap_err();
    assert_eq!(refused.code, RefusalCode::NotReady, "acks may be lost");
}

#[test]
fn s48_who_receives_from_elsewhere_is_sent_away_by_a_relay_that_is_drained_and_not_let_in_again() {
    let (mut h, _) = attached();
    let (operator, request) = (SessionId(SESSION.0 + 1), 900);
    h.input(Input::SessionOpened { session: operator });
    let body = Box::new(Request::RelayDrain { abandon: true });
    h.input(Input::Request { session: operator, request, body });
    let Some(Ok(Reply::Draining(state))) = h.answers.remove(&request) else { panic!("{:?}", h.answers) };
    assert_eq!((state.begun, state.sessions, h.closes), (true, 1, 1));
    let attach = Request::Attach { group: group("g"), name: Some(sub("s")), create: None };
    let refusal = h.request(attach).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::NotReady);
    assert!(refusal.leaving, "whoever is here waits in vain");
    assert_eq!(refusal.message, "r is being drained: go to another relay, like o");
    h.relay.set_topology_file(super::topology::text(&["o"]));
    let refusal =
        h.request(Request::Attach { group: group("g"), name: Some(sub("s")), create: None }).unwrap_err();
    assert_eq!(refusal.message, "r is being drained: go to another relay, like o at 127.0.0.1:7001");
}

#[test]
fn s48_who_is_led_to_a_relay_that_is_drained_is_not_sent_away_from_where_it_is() {
    let (mut h, _) = attached();
    let attach = || Request::Attach { group: group("other"), name: Some(sub("s")), create: None };
    let (operator, request) = (SessionId(SESSION.0 + 1), 900);
    h.input(Input::SessionOpened { session: operator });
    let body = Box::new(Request::RelayDrain { abandon: true });
    h.input(Input::Request { session: operator, request, body });
    assert!(h.request(attach()).unwrap_err().leaving);
    h.said.clear();
    // What it asks for was here a moment ago, as far as `o` knows, and will be elsewhere.
    let (opener, home) = (RelayId::new("o").unwrap(), RelayId::new("r").unwrap());
    let circuit = CircuitId { opener, boot: 1, number: 1 };
    let head = CircuitHead { circuit, home, is_back: false, sequence: 0, hops: 8 };
    let says = CircuitSays::Request { request: 1, body: Box::new(attach()) };
    h.hear(LinkMessage::Circuit(Box::new(CircuitFrame { head, says })));
    let answers = over_circuits(&mut h).into_iter().filter_map(|frame| {
        if let CircuitSays::Answer { answer, .. } = frame.says { Some(*answer) } else { None }
    });
    let answers: Vec<_> = answers.collect();
    let [Err(refusal)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((refusal.code, refusal.leaving), (RefusalCode::NotReady, false), "{refusal:?}");
}
