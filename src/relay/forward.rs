//! Runs over links: what a neighbour lacks is sent, what it sends is appended.
//!
//! A neighbour in the tree of a group is a reader of the group's log, like a subscription. Its
//! place is an index, below which nothing is left for it, and per stream how far it has come:
//! what it has told, what it was sent and what it has sent itself. Records of other origins are
//! passed on when they arrive (cut-through): their sequence is fixed already. A relay's own are
//! passed on when they are durable here, so no sequence is ever known elsewhere and then given
//! to another record.
//!
//! ```text
//!  tree gains the link ──▶ comparing ──their vector──▶ reading the log ◀──▶ at the end (pushed to)
//!                              ▲                              │
//!                              └───── link down, tree loses ──┘
//! ```
//!
//! Data is taken from any neighbour, in the tree or not: what is next in its stream is appended,
//! what is there already is dropped, and beyond a hole the neighbour is asked to compare again.

mod give;
mod history;

use std::collections::BTreeMap;

use super::Relay;
use super::ahead::Ahead;
use super::carried::Fate;
use super::facts::Parts;
use super::finished::FinishedEpochs;
use super::forget::Orphans;
use super::fresh::{Fresh, Freshness};
use super::group::Group;
use super::input::Now;
use super::journal::{Waiting, WaitingRun};
use super::names::Names;
use super::planned::in_marks;
use super::pull::StreamKey;
use super::state::Operation;
use super::stream::{Genesis, Mark, Stream};
use super::turns::Turn;
use crate::id::{Epoch, GroupNumber, Index, LinkId, RelayId, Sequence, StreamNumber, Time};
use crate::limits;
use crate::log::{Entry, Urgency};
use crate::wire::body::LinkCounts;
use crate::wire::link::{GroupId, LinkMessage, SeenWhy, StreamNamed, StreamSeen};
use crate::wire::run::{Run, RunKind, StoredRun};

/// Streams of which a neighbour has told how far it has them, and which are not here, at the most: of
/// more it is sent what it has.
const UNOPENED_MAX: usize = 256;

/// What a group has when other relays take part in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Spread {
    pub(super) parts: Parts,
    pub(super) names: Names,
    /// Whether any other relay is a member or an origin.
    pub(super) has_others: bool,
    /// The links that are part of the group's tree, or of any of its trees, in order.
    tree: Vec<LinkId>,
    /// Where each origin has a tree of its own: the links that are part of it.
    by_origin: BTreeMap<RelayId, Vec<LinkId>>,
    readers: Vec<LinkReader>,
    pub(super) fresh: Fresh,
    /// What of the group each link has carried since the start of the relay.
    pub(super) carried: Vec<(LinkId, LinkCounts)>,
    /// Whether this relay has a stream that it may write on, and has said that it is no origin now.
    pub(super) is_quiet: bool,
    /// Which epochs of which origins are finished.
    pub(super) finished: FinishedEpochs,
    /// When receipts that nobody has answered are said again, and the pause after that.
    pub(super) repeat_at: Time,
    pub(super) repeat_pause_ms: u64,
    /// Which quotas are used up, here and at homes elsewhere.
    pub(super) full: Option<Box<super::full::Fulls>>,
    /// Neighbours that were told of a hole, and how far all streams were then.
    asked: BTreeMap<LinkId, u64>,
}

/// A neighbour's place in a group.
#[derive(Clone, Debug)]
pub(super) struct LinkReader {
    link: LinkId,
    /// Nothing below is left to be sent.
    pub(super) next: Index,
    /// Behind here nothing of what is not durable yet is to be sent, as far as is known.
    pub(super) lacks_to: Index,
    /// Where the group ended when the two compared: nothing that stands before was put since.
    met_at: Index,
    /// Where it ended then, or when it fell too far behind: what stands before is its backlog.
    backlog_end: Index,
    /// Whether the neighbour has told how far it is.
    pub(super) has_compared: bool,
    /// How far it has each stream: told, sent by us, or sent to us.
    known: BTreeMap<StreamNumber, Sequence>,
    /// The same of streams that it has told and that are not here: they may come over another link.
    unopened: Vec<(RelayId, Epoch, Sequence)>,
    pub(super) ahead: Option<Ahead>,
    pub(super) fetching: Option<Index>,
    /// Where it waits for its turn.
    pub(super) turn: Turn,
    /// Whether it has reached the end, or has all of its backlog, and has not fallen far behind since.
    pub(super) is_live: bool,
    /// Bytes that it has lacked at the least since it is live.
    lag: u64,
    /// Bytes of its backlog that it has sent beyond its turns.
    pub(super) debt: u64,
    /// Whether it was among those that are eager when its last turn began.
    pub(super) is_eager: bool,
    /// The last run that it was given since it, or somebody behind it, had asked for it.
    pulled: Option<(StreamNumber, Sequence)>,
}

impl LinkReader {
    fn new(link: LinkId, next: Index) -> Self {
        Self {
            link,
            next,
            lacks_to: Index(u64::MAX),
            met_at: next,
            backlog_end: next,
            has_compared: false,
            known: BTreeMap::new(),
            unopened: Vec::new(),
            ahead: None,
            fetching: None,
            turn: Turn::Idle,
            is_live: false,
            lag: 0,
            debt: 0,
            is_eager: false,
            pulled: None,
        }
    }

    /// The neighbour has told how far it is, when the group ended there.
    fn met(link: LinkId, next: Index, met_at: Index) -> Self {
        Self { has_compared: true, met_at, backlog_end: met_at, ..Self::new(link, next) }
    }

    /// From where on what comes has come since it is being told.
    pub(super) fn told_from(&self) -> Index {
        self.next.max(self.met_at)
    }

    /// Whether all that it lacks has come since it came.
    pub(super) fn has_its_backlog(&self) -> bool {
        self.next >= self.backlog_end
    }

    /// It is live, and lacks so many bytes.
    pub(super) fn become_live(&mut self, lacks: u64) {
        (self.is_live, self.lag) = (true, lacks);
    }

    /// Whether it lacks much more now than it has while it was live.
    pub(super) fn falls_behind(&mut self, lacks: u64) -> bool {
        self.lag = self.lag.min(lacks);
        lacks - self.lag > limits::LINK_LIVE_LAG_BYTES_MAX
    }

    /// It is not live any more: all that stands before this is its backlog from now on.
    pub(super) fn fall_behind(&mut self, end: Index) {
        (self.is_live, self.ahead, self.backlog_end) = (false, None, end);
    }

    fn has(&self, run: &StoredRun) -> bool {
        self.has_all(run.stream, Sequence(run.run.header.end().0 - 1))
    }

    /// Whether it has a stream up to here, as far as is known.
    fn has_all(&self, stream: StreamNumber, last: Sequence) -> bool {
        self.known.get(&stream).is_some_and(|known| last <= *known)
    }

    /// Whether it has anything of a stream, as far as is known.
    fn knows(&self, stream: StreamNumber) -> bool {
        self.known.get(&stream).is_some_and(|known| *known > Sequence(0))
    }

    fn note(&mut self, stream: StreamNumber, last: Sequence) {
        let known = self.known.entry(stream).or_default();
        *known = (*known).max(last);
    }

    /// A stream is here now: it may have told how far it has it.
    fn meet(&mut self, stream: StreamNumber, (origin, epoch): (&RelayId, Epoch)) {
        let place = self.unopened.iter().position(|(of, told, _)| *told == epoch && of == origin);
        if let Some((_, _, seen)) = place.map(|place| self.unopened.swap_remove(place)) {
            self.note(stream, seen);
        }
    }

    /// Whether it has all of a stream before a run, as far as is known.
    fn reaches(&self, stream: StreamNumber, run: &Run) -> bool {
        self.known.get(&stream).map_or(0, |known| known.0) + 1 >= run.header.first.0
    }

    /// It has this run. That it has all before it too goes without saying, but not of a pulled
    /// one: it passes those on that somebody behind it has asked for, and keeps nothing of them.
    fn note_run(&mut self, stream: StreamNumber, run: &Run, is_pulled: bool) {
        if !is_pulled || self.reaches(stream, run) {
            self.note(stream, Sequence(run.header.end().0 - 1));
        }
    }
}

impl Spread {
    pub(super) fn reader(&mut self, link: LinkId) -> Option<&mut LinkReader> {
        self.readers.iter_mut().find(|reader| reader.link == link)
    }

    /// What each neighbour is to be given next, of those that have said what they have.
    pub(super) fn places(&self) -> impl Iterator<Item = (LinkId, Index)> {
        let compared = self.readers.iter().filter(|reader| reader.has_compared);
        compared.map(|reader| (reader.link, reader.next))
    }

    /// Streams that are forgotten: no neighbour's place speaks of them any more.
    pub(super) fn forget_streams(&mut self, streams: &[StreamNumber]) {
        for reader in &mut self.readers {
            reader.known.retain(|stream, _| !streams.contains(stream));
        }
    }

    /// The links of the group's tree, or of all its trees.
    pub(super) fn tree(&self) -> &[LinkId] {
        &self.tree
    }

    /// Where a neighbour's place is, and whether the neighbour has told how far it is.
    pub(super) fn place_of(&self, link: LinkId) -> Option<(Index, bool)> {
        let reader = self.readers.iter().find(|reader| reader.link == link)?;
        Some((reader.next, reader.has_compared))
    }

    /// Whether messages of an origin take this link of the tree. Those of an origin that has none
    /// yet take all.
    pub(super) fn carries(&self, origin: &RelayId, link: LinkId) -> bool {
        self.by_origin.get(origin).is_none_or(|links| links.contains(&link))
    }
}

impl Group {
    /// What it has because of other relays.
    pub(super) fn spread(&mut self) -> &mut Spread {
        self.spread.get_or_insert_default()
    }

    pub(super) fn id(&self) -> GroupId {
        GroupId { name: self.name.clone(), incarnation: self.incarnation }
    }

    /// How far every stream is here.
    fn seen(&self) -> Vec<StreamSeen> {
        let seen = |s: &Stream| StreamSeen {
            origin: s.origin.clone(),
            epoch: s.epoch,
            seen: s.last,
            released: s.released,
            wanted: s.wanted,
        };
        self.streams.iter().map(seen).collect()
    }

    /// Says how far every stream is, and why.
    fn compare(&self, why: SeenWhy) -> LinkMessage {
        LinkMessage::Seen { group: self.id(), streams: self.seen(), why }
    }

    pub(super) fn stream_of(&self, origin: &RelayId, epoch: Epoch) -> Option<&Stream> {
        self.streams.iter().find(|s| s.epoch == epoch && s.origin == *origin)
    }

    /// Whether the messages of a stream take a link of the tree.
    fn carries(&self, stream: StreamNumber, link: LinkId) -> bool {
        let Some(spread) = self.spread.as_deref() else { return false };
        let origin = || self.streams.iter().find(|s| s.number == stream).map(|s| &s.origin);
        // Most groups have one tree: then nobody is looked for.
        spread.by_origin.is_empty() || origin().is_some_and(|origin| spread.carries(origin, link))
    }

    /// Whether an earlier epoch of the same origin and disk is not complete: then this one waits
    /// (I10). Epochs of a disk that is gone are sealed by nobody and hold nobody up (R9).
    fn waits_for_seal(&self, stream: &Stream) -> bool {
        let waits = |s: &Stream| !s.sealed && s.is_before(&stream.origin, stream.epoch);
        self.streams.iter().any(|s| waits(s) && !self.is_finished(&s.origin, s.epoch))
    }

    /// Names earlier epochs of a stream's origin that may be owed to somebody. A neighbour that is
    /// told of a later one must know of them, or it would not wait for them: what is pulled does
    /// not come in the order of the log. Who only passes it on may have nothing of them itself: as
    /// long as the end of one is not here, nobody can say here that all of it was released.
    fn unreleased_before(&self, stream: &Stream) -> Vec<StreamNamed> {
        let is_owed = |s: &Stream| s.released < s.last || !s.sealed;
        let is_before = |s: &&Stream| s.is_before(&stream.origin, stream.epoch) && is_owed(s);
        let unreleased = self.streams.iter().filter(is_before);
        let owed = unreleased.filter(|s| !self.is_finished(&s.origin, s.epoch));
        owed.map(|s| self.named(s, (Sequence(1), 0))).collect()
    }

    /// Names a stream, and where it goes on: the next sequence, and the hash over all before it.
    fn named(&self, stream: &Stream, (base, chain): (Sequence, u64)) -> StreamNamed {
        StreamNamed {
            number: stream.number,
            group: self.id(),
            origin: stream.origin.clone(),
            epoch: stream.epoch,
            base,
            chain,
            released: stream.released,
        }
    }
}

impl Relay {
    /// The links of the group's trees are these now. Compares streams over those that are new, or
    /// that some origin's messages did not take before.
    pub(super) fn set_tree(
        &mut self,
        number: GroupNumber,
        tree: Vec<LinkId>,
        by_origin: BTreeMap<RelayId, Vec<LinkId>>,
    ) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let low = group.low;
        let spread = group.spread();
        spread.readers.retain(|reader| tree.contains(&reader.link));
        // An origin without a tree of its own takes all links: also one that has lost its tree
        // gains those that were not part of it.
        let will_carry =
            |origin: &RelayId, link: &LinkId| by_origin.get(origin).is_none_or(|l| l.contains(link));
        let is_fresh = |link: &LinkId| {
            let mut origins = by_origin.keys().chain(spread.by_origin.keys());
            !spread.readers.iter().any(|reader| reader.link == *link)
                || origins.any(|origin| will_carry(origin, link) && !spread.carries(origin, *link))
        };
        let fresh: Vec<LinkId> = tree.iter().copied().filter(is_fresh).collect();
        spread.readers.retain(|reader| !fresh.contains(&reader.link));
        spread.readers.extend(fresh.iter().map(|link| LinkReader::new(*link, low)));
        (spread.tree, spread.by_origin) = (tree, by_origin);
        if fresh.is_empty() {
            // Most plans change nothing: no vector is made for them.
            return;
        }
        let compare = group.compare(SeenWhy::Asks);
        for link in fresh {
            self.say_finished(number, link);
            self.say(link, compare.clone());
        }
    }

    /// A link is down: it is part of no tree until the next plan.
    pub(super) fn leave_trees(&mut self, link: LinkId) {
        for spread in self.groups.iter_mut().filter_map(|group| group.spread.as_deref_mut()) {
            spread.readers.retain(|reader| reader.link != link);
            spread.tree.retain(|of| *of != link);
            spread.asked.remove(&link);
        }
    }

    /// A neighbour tells how far it is: what it lacks is sent from now on, if it is in the tree.
    pub(super) fn on_seen(
        &mut self,
        now: Now,
        link: LinkId,
        id: &GroupId,
        streams: &[StreamSeen],
        why: SeenWhy,
    ) {
        let Some(number) = self.group_of(now, id) else { return };
        self.look_again(number, link);
        self.check_seen(now, number, streams);
        let Some(group) = self.groups.get_mut(number) else { return };
        let known: Vec<(StreamNumber, Sequence)> = streams
            .iter()
            .filter_map(|told| Some((group.stream_of(&told.origin, told.epoch)?.number, told.seen)))
            .collect();
        let is_unopened = |told: &&StreamSeen| {
            let is_here = group.stream_of(&told.origin, told.epoch).is_some();
            !is_here && !group.is_finished(&told.origin, told.epoch)
        };
        let unopened = streams.iter().filter(is_unopened).take(UNOPENED_MAX);
        let unopened = unopened.map(|told| (told.origin.clone(), told.epoch, told.seen)).collect();
        let (me, storage) = (&self.options.relay, self.options.epoch.storage);
        let (mut news, mut is_wanted, mut lacking) = (Vec::new(), false, None);
        for told in streams {
            let ours = group.streams.iter_mut().find(|s| s.epoch == told.epoch && s.origin == told.origin);
            if let Some(ours) = ours.filter(|ours| !ours.is_written_by(me, storage)) {
                let (is_released, is_wanted_more) = (ours.release(told.released), told.wanted > ours.wanted);
                if is_released {
                    lacking = ours.lacks.take().or(lacking);
                }
                if is_released || is_wanted_more {
                    ours.wanted = ours.wanted.max(told.wanted);
                    news.push(ours.number);
                }
                is_wanted |= is_wanted_more;
            }
        }
        self.note_lag(now, number, streams);
        let Some(group) = self.groups.get_mut(number) else { return };
        let (ours, low, met_at) = (group.seen(), group.low, group.next);
        if let Some(reader) = group.spread().reader(link) {
            // What was sent since the neighbour made this vector arrives on the same connection, so
            // it is not sent again. Only one who lacks something has not taken what was sent.
            if !reader.has_compared || why == SeenWhy::Lacks {
                // One that is in a queue stays in it, and is not put there twice.
                let turn = if reader.turn.is_queued() { reader.turn } else { Turn::Idle };
                *reader = LinkReader { turn, ..LinkReader::met(link, low, met_at) };
            }
            known.into_iter().for_each(|(stream, seen)| reader.note(stream, seen));
            reader.unopened = unopened;
            self.skip_known(number, link);
            self.enqueue_reader(number, link);
        }
        if why != SeenWhy::Answers {
            self.say_finished(number, link);
        }
        if why == SeenWhy::Asks {
            self.say(link, LinkMessage::Seen { group: id.clone(), streams: ours, why: SeenWhy::Answers });
        }
        self.pass_released(number, Some(link), &news);
        if is_wanted {
            self.journal.hurry();
            self.owe_receipt(now, number, false);
        }
        if let Some(lacking) = lacking {
            self.ask_again(number, lacking);
        }
        self.note_shown(now, number, link, streams);
    }

    /// Passes over what the neighbour has, as far as it is remembered where that stands: a
    /// backlog that is kept for others is not read for one who has it.
    fn skip_known(&mut self, number: GroupNumber, link: LinkId) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let (low, end) = (group.low, group.next);
        let Some(reader) = group.spread.as_mut().and_then(|spread| spread.reader(link)) else { return };
        let known = |stream: &Stream| reader.known.get(&stream.number).copied().unwrap_or_default();
        let lacked = group.streams.iter().filter_map(|stream| stream.lacked_from(known(stream), low));
        let from = lacked.min().unwrap_or(end);
        if from > reader.next {
            (reader.next, reader.ahead) = (from, None);
        }
    }

    /// What a neighbour has and this relay lacks it will send; unless it cannot.
    fn note_shown(&mut self, now: Now, number: GroupNumber, link: LinkId, streams: &[StreamSeen]) {
        let Some(group) = self.groups.get(number) else { return };
        let by = self.links.table.get(&link).map(|state| state.neighbour.clone());
        let is_ahead = |told: &&StreamSeen| {
            let ours = group.stream_of(&told.origin, told.epoch);
            told.seen > told.released.max(ours.map_or(Sequence(0), |ours| ours.last))
        };
        let lacking: Vec<(StreamKey, Sequence)> = streams
            .iter()
            .filter(is_ahead)
            .map(|told| {
                let key = StreamKey { group: number, origin: told.origin.clone(), epoch: told.epoch };
                (key, told.seen)
            })
            .collect();
        for (key, shown) in lacking {
            self.note_lack(now, key, (shown, by.as_ref()), limits::PULL_PATIENCE_SHOWN_MS);
        }
    }

    /// A neighbour names a stream that it is about to send.
    pub(super) fn on_stream_named(&mut self, now: Now, link: LinkId, named: StreamNamed) {
        let Some(number) = self.group_of(now, &named.group) else { return };
        let before = Sequence(named.base.0.saturating_sub(1));
        self.check_own(now, number, (&named.origin, named.epoch), before);
        let Some(group) = self.groups.get(number) else { return };
        if group.is_finished(&named.origin, named.epoch) {
            // Its runs are not taken either.
            return self.say_finished(number, link);
        }
        let stream = match group.stream_of(&named.origin, named.epoch) {
            Some(stream) => stream.number,
            // Its runs are of a stream that is not known, and are not taken.
            None if group.streams.len() >= limits::STREAMS_PER_GROUP_MAX => return,
            None => self.open_stream(number, (&named.origin, named.epoch), Urgency::Ride),
        };
        self.check_released(now, (number, stream), named.released);
        self.move_stream((number, stream), link, &named);
        if let Some(state) = self.links.table.get_mut(&link) {
            state.theirs.insert(named.number, (number, stream));
        }
    }

    /// Opens a stream, empty so far.
    pub(super) fn open_stream(
        &mut self,
        number: GroupNumber,
        (origin, epoch): (&RelayId, Epoch),
        urgency: Urgency,
    ) -> StreamNumber {
        let stream = StreamNumber(self.counters.streams + 1);
        let opened = Operation::StreamOpened { group: number, stream, origin: origin.clone(), epoch };
        self.journal.append(&mut self.effects, Entry::State(opened.encode()), urgency);
        self.add_stream((number, stream), origin.clone(), epoch);
        let spread = self.groups.get_mut(number).and_then(|group| group.spread.as_deref_mut());
        for reader in spread.into_iter().flat_map(|spread| &mut spread.readers) {
            reader.meet(stream, (origin, epoch));
        }
        stream
    }

    /// What a stream lacks before the base was released: nobody will ever send it.
    fn move_stream(
        &mut self,
        (number, stream): (GroupNumber, StreamNumber),
        link: LinkId,
        named: &StreamNamed,
    ) {
        let me = self.options.relay.clone();
        let Some(group) = self.groups.get_mut(number) else { return };
        let Some(known) = group.stream(stream) else { return };
        if known.is_written_by(&me, self.options.epoch.storage) {
            return;
        }
        let is_news = known.release(named.released);
        let last = Sequence(named.base.0.saturating_sub(1));
        if last > known.last && last <= named.released {
            self.pass_over((number, stream), (last, named.chain));
        }
        if is_news {
            self.pass_released(number, Some(link), &[stream]);
        }
    }

    /// A neighbour sends records.
    pub(super) fn on_run(&mut self, now: Now, link: LinkId, (theirs, age_ms): (StreamNumber, u32), run: Run) {
        let named = self.links.table.get(&link).and_then(|state| state.theirs.get(&theirs)).copied();
        let group = named.map(|(number, _)| number);
        let load = super::carried::load(&run);
        let pulled = self.pulls.has_waiters().then(|| run.clone());
        let fate = named.map_or(Fate::Stray, |at| self.accept_run(now, link, at, (age_ms, run)));
        self.count_received((link, group), load, fate);
        if let Some((at, run)) = named.zip(pulled) {
            self.pass_pulled(now, link, at, (age_ms, &run), fate);
            self.take_repaired(now, link, at, (age_ms, &run), fate);
        }
    }

    fn accept_run(
        &mut self,
        now: Now,
        link: LinkId,
        (number, stream): (GroupNumber, StreamNumber),
        (age_ms, run): (u32, Run),
    ) -> Fate {
        let fits = self.fits(&run);
        let orphans = Orphans { forgotten: &self.forgotten, states: &self.links.states };
        let Some(group) = self.groups.get_mut(number) else { return Fate::Stray };
        let Some(known) = group.streams.iter().find(|s| s.number == stream) else { return Fate::Stray };
        let run = super::lost::fitted(known, run);
        if run.header.kind == RunKind::Loss && run.header.count > 1 && super::lost::in_place(&run).is_none() {
            return Fate::Stray;
        }
        let last = Sequence(run.header.end().0 - 1);
        if group.is_finished(&known.origin, known.epoch) {
            return Fate::Repeat;
        }
        let is_pulled = self.pulls.awaits(number, known, (run.header.first, last));
        if last > known.last && self.room {
            let is_next = run.header.first == known.last.next() && run.header.chain == known.chain;
            // Of a relay that is gone for good nothing holds up what has come after it (R9); of a disk that
            // is gone it does until nobody is found who has it.
            let is_given_up =
                || orphans.is_one(known) && self.pulls.is_in_vain(&StreamKey::of(number, known));
            let is_held_up = group.waits_for_seal(known) && !orphans.is_gone(&known.origin) && !is_given_up();
            if !is_next || is_held_up {
                let key = StreamKey::of(number, known);
                if let Some(known) = group.stream(stream) {
                    known.lacks = Some(link);
                }
                self.compare_again(link, number);
                self.note_lack(now, key, (last, None), limits::PULL_PATIENCE_MS);
                return Fate::Early;
            }
            // One that may have lost what it had is owed also what is released.
            let has_all = !self.has_holes && self.renewed.is_none();
            if has_all && !is_pulled && group.comes_too_late(&self.options.relay, known, &run) {
                self.pass_over_run(link, (number, stream), &run);
                return Fate::Repeat;
            }
        }
        let is_new = last > known.last;
        if is_new && !self.room {
            // Neighbours keep it, and send it again when there is room.
            self.starved.insert((number, link));
            return Fate::Early;
        }
        if is_new && !fits {
            self.warn_of_length(number);
            return Fate::Early;
        }
        let mut was_there = is_pulled;
        if let Some(reader) = group.spread().reader(link) {
            was_there |= reader.has_all(stream, last);
            reader.note_run(stream, &run, is_pulled);
        }
        if !is_new {
            return Fate::Repeat;
        }
        self.take_run(now, link, (number, stream), (age_ms, Freshness::of(was_there, age_ms)), run);
        Fate::Taken
    }

    /// Something is missing before what came: the neighbour is told so, once until it is there.
    fn compare_again(&mut self, link: LinkId, number: GroupNumber) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let total: u64 = group.streams.iter().map(|s| s.last.0).sum();
        if group.spread().asked.insert(link, total) != Some(total) {
            self.say_lacks(number, link);
        }
    }

    /// The neighbour is told that something is missing here.
    pub(super) fn say_lacks(&mut self, number: GroupNumber, link: LinkId) {
        if let Some(group) = self.groups.get(number) {
            let message = group.compare(SeenWhy::Lacks);
            self.say(link, message);
        }
    }

    /// More of a stream is released than was known: what was dropped, since something was missing
    /// before it, may be next now.
    pub(super) fn ask_again(&mut self, number: GroupNumber, link: LinkId) {
        let Some(group) = self.groups.get_mut(number) else { return };
        group.spread().asked.remove(&link);
        self.compare_again(link, number);
    }

    /// The disk has room again, or has none any more.
    pub(super) fn handle_room(&mut self, free: bool) {
        self.room = free;
        if !free {
            // Others are to go round it.
            return self.timers.set_by(super::timer::Timer::Behind, self.links.now);
        }
        for (number, link) in std::mem::take(&mut self.starved) {
            // Also to one that is out of the tree by now: it may be in it again, and takes what it
            // has sent for taken.
            self.say_lacks(number, link);
        }
    }

    /// Appends records of another origin and passes them on at once.
    fn take_run(
        &mut self,
        now: Now,
        link: LinkId,
        (number, stream): (GroupNumber, StreamNumber),
        (age_ms, kind): (u32, Freshness),
        run: Run,
    ) {
        let me = self.options.relay.clone();
        let Some(group) = self.groups.get_mut(number) else { return };
        let first_index = group.next;
        let since = group.member_for();
        let mut whole = None;
        if let Some(known) = group.stream(stream) {
            known.note(&run);
            known.lacks = None;
            known.note_membership((&me, since), &run);
            whole = known.sealed.then(|| StreamKey::of(number, known));
        }
        let arrival = group.arrival(now);
        group.note_producer(first_index, &run.header, arrival);
        let last = Sequence(run.header.end().0 - 1);
        let stored = StoredRun { stream, first_index, arrived: now.wall, age_ms, link, run: run.clone() };
        let urgency = self.urgency_of((number, stream), &run);
        let end = self.append_run(now, (number, stream), (link, age_ms), (run, urgency));
        let run = WaitingRun { group: number, end, stream, last };
        self.journal.wait(Waiting::Run { run, count: 0, put: None });
        self.pass_on(now, number, &stored, kind);
        self.note_fresh(number, kind);
        self.give_arrived(number, &stored);
        if let Some(whole) = whole {
            self.pull_later(now, &whole);
        }
    }

    /// Notes in the own stream of a group, if there is one, what was learned of a membership. One
    /// that is quiet notes it with the next message ([`super::origin`]).
    pub(super) fn mark(&mut self, now: Now, number: GroupNumber, mark: Mark) {
        let group = self.groups.get(number).filter(|group| !group.is_quiet());
        if let Some(own) = group.and_then(|group| group.own) {
            let body = crate::wire::body::encode(&mark);
            self.append_control(now, number, own, super::stream::Draft::control(RunKind::Mark, body));
        }
    }

    /// Who is a member, as a stream's first record says it.
    pub(super) fn genesis(&self, number: GroupNumber) -> Genesis {
        let Some(group) = self.groups.get(number) else { return Genesis { members: Vec::new() } };
        let others = group.spread.iter().flat_map(|spread| &spread.parts.members);
        let others = others.filter(|(relay, (_, member))| *member && **relay != self.options.relay);
        let mut members: Vec<(RelayId, u64)> =
            others.map(|(relay, (version, _))| (relay.clone(), in_marks(*version))).collect();
        if !group.subscriptions.is_empty() {
            members.push((self.options.relay.clone(), group.membership));
        }
        members.sort();
        Genesis { members }
    }
}

#[cfg(any(test, feature = "sim"))]
impl Relay {
    /// The number that a group has here.
    #[must_use]
    pub fn number_of(&self, group: &crate::id::GroupName) -> Option<GroupNumber> {
        self.groups.number(group)
    }

    /// Whether it has heard of another relay.
    #[must_use]
    pub fn knows(&self, other: &RelayId) -> bool {
        self.known_relays().contains(other)
    }

    /// How often a group of this name was removed before the one that is here.
    #[must_use]
    pub fn life_of(&self, group: &crate::id::GroupName) -> Option<u32> {
        self.groups.get(self.groups.number(group)?).map(|group| group.incarnation)
    }

    /// Groups with their trees, readers and streams, for people who look into a simulation.
    #[must_use]
    pub fn explain(&self) -> String {
        let stream = |s: &Stream| {
            let held: Vec<String> =
                s.receipts.iter().map(|(relay, held)| format!("{relay} has {}", held.durable)).collect();
            let waits = if s.released < s.last {
                format!(" marks {:?} receipts {held:?}", s.marks)
            } else {
                String::new()
            };
            format!("{}.{} to {} released {}{waits}", s.origin, s.epoch.counter, s.last, s.released)
        };
        let groups = self.groups.iter().filter_map(|group| {
            let spread = group.spread.as_deref()?;
            let streams: Vec<String> = group.streams.iter().map(stream).collect();
            let readers: Vec<_> =
                spread.readers.iter().map(|r| (r.link.0, r.next.0, r.has_compared)).collect();
            let tree: Vec<u32> = spread.tree.iter().map(|link| link.0).collect();
            Some(format!(
                "\n  {} to {} tree {tree:?} readers {readers:?} streams {streams:?}",
                group.name, group.next
            ))
        });
        groups.collect()
    }
}
