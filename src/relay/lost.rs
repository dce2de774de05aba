//! What is damaged at its origin, and found nowhere: a LOSS stands in its place (R9).
//!
//! Who looks after a stream (its origin, or the trustee of a relay that is gone) is asked for what a
//! member lacks. What is damaged here it asks of all others ([`super::serve`]). When nobody has it, also
//! some seconds later, it answers with a record LOSS that takes as many sequences as what is lost. It
//! carries the hash over the stream behind that, so what follows goes on as if nothing had happened; it is
//! kept, passed on and confirmed like any other record, and told to subscriptions as a gap.
//!
//! ```text
//!  asked for ──nobody has it──▶ suspected ──again nobody has it, 5 s later──▶ LOSS
//!                                   │  ▲
//!                                   └──┘ a relay that is away may have it, or somebody did not answer
//! ```
//!
//! Nothing of it is decided for good: the origin keeps no LOSS itself, and looks anew for every member
//! that asks. Who has a record keeps it, and takes a LOSS only for what it lacks ([`fitted`]). Who has
//! taken a LOSS never takes the record as well: its subscriptions were told. But nobody is given a LOSS
//! when it repairs its own disk, so there the record itself may still come.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Relay;
use super::input::Now;
use super::levels::Awaited;
use super::loss::{Loss, LossCause};
use super::pull::{PullWaiter, Quest, StreamKey};
use super::stream::Stream;
use crate::id::{GroupNumber, Index, LinkId, RelayId, Sequence, StreamNumber, Time, WallTime};
use crate::limits;
use crate::wire::run::{Run, RunHeader, RunKind, StoredRun};

/// What a LOSS says that stands in place of records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InPlace {
    /// The relay whose disk is damaged: it looks after the stream.
    pub(super) by: RelayId,
    /// The hash over everything up to the end of it; nothing: more of the same follows, and the hash is that
    /// of this record.
    pub(super) chain: Option<u64>,
    /// Whether the stream has ended with what is lost.
    pub(super) seals: bool,
    /// Who became a member with what is lost, with the version.
    pub(super) members: Vec<(RelayId, u64)>,
}

/// What a LOSS says, if it stands in place of records.
pub(super) fn in_place(run: &Run) -> Option<InPlace> {
    if run.header.kind != RunKind::Loss {
        return None;
    }
    match crate::wire::body::decode::<Loss>(&run.body).ok()?.cause {
        LossCause::Damaged(lost) => Some(lost),
        LossCause::Uncertain | LossCause::Forgotten { .. } | LossCause::Missed { .. } => None,
    }
}

/// A run as it goes on behind what is here of its stream. A LOSS counts for what is lacking only, and its
/// sender may not know the hash over what is before.
pub(super) fn fitted(known: &Stream, run: Run) -> Run {
    let next = known.last.next();
    let is_lacking = run.header.first <= next && next < run.header.end();
    if !is_lacking || in_place(&run).is_none() {
        return run;
    }
    // Not more than before, which is a number of records of a run.
    let count = (run.header.end().0 - next.0) as u32;
    Run { header: RunHeader { first: next, count, chain: known.chain, ..run.header }, body: run.body }
}

/// What stands behind a hole: its sequence, and the hash over everything before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Behind {
    pub(super) next: Sequence,
    pub(super) chain: u64,
}

/// Records that were in vain looked for.
#[derive(Clone, Debug)]
struct Suspicion {
    since: Time,
    last: Time,
    behind: Sequence,
    /// A relay that is away, and may have them.
    holder: Option<RelayId>,
}

/// Records that were told to be lost.
#[derive(Clone, Debug)]
struct Told {
    key: StreamKey,
    from: Sequence,
    behind: Sequence,
    at: WallTime,
}

/// All records of streams that this relay looks after, and that are damaged here and found nowhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    suspected: BTreeMap<(StreamKey, Sequence), Suspicion>,
    told: Vec<Told>,
}

impl Losses {
    /// A group is gone.
    pub(super) fn forget(&mut self, group: GroupNumber) {
        self.suspected.retain(|(key, _), _| key.group != group);
        self.told.retain(|told| told.key.group != group);
    }

    /// It was looked for in vain. True: it has been for long enough.
    fn is_in_vain(&mut self, now: Time, (key, from): (&StreamKey, Sequence), found: &Suspicion) -> bool {
        // Who lacks it asks again, or has it by now.
        self.suspected.retain(|_, known| now < known.last.after_ms(2 * limits::PULL_PAUSE_MS_MAX));
        let place = (key.clone(), from);
        if self.suspected.len() >= limits::LACKS_MAX && !self.suspected.contains_key(&place) {
            return false;
        }
        let known = self.suspected.entry(place).or_insert_with(|| found.clone());
        (known.last, known.behind) = (now, found.behind);
        known.holder.clone_from(&found.holder);
        known.holder.is_none() && now >= known.since.after_ms(limits::LOST_MS)
    }

    fn note_told(&mut self, told: Told) {
        self.suspected.remove(&(told.key.clone(), told.from));
        if let Some(known) = self.told.iter_mut().find(|t| t.key == told.key && t.behind == told.behind) {
            known.from = known.from.min(told.from);
            return;
        }
        if self.told.len() == limits::TAIL_CUTS_MAX {
            self.told.remove(0);
        }
        self.told.push(told);
    }
}

impl Stream {
    /// The records that stand in place of what is lost from `from` on. Of a stream of another origin it is
    /// not known here who became a member with it: perhaps all that are, `members`, who may know better.
    fn losses(
        &self,
        (by, members): (&RelayId, &[&RelayId]),
        from: Sequence,
        behind: Behind,
        now: WallTime,
    ) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut first = from;
        while first < behind.next {
            let most = u64::from(limits::RUN_RECORDS_MAX);
            let records = (behind.next.0 - first.0).min(most);
            let end = Sequence(first.0 + records);
            let has_begun = |(_, (at, _)): &(&RelayId, &(Sequence, u64))| (first..end).contains(at);
            let marked = self.marks.iter().filter(has_begun).map(|(relay, (_, v))| (relay.clone(), *v));
            let perhaps = members.iter().map(|relay| ((*relay).clone(), u64::MAX));
            let is_last = end == behind.next;
            let lost = InPlace {
                by: by.clone(),
                chain: is_last.then_some(behind.chain),
                seals: self.sealed && end > self.last,
                members: if members.is_empty() { marked.collect() } else { perhaps.collect() },
            };
            let loss = Loss { cause: LossCause::Damaged(lost), after: None, messages: Some(records) };
            runs.push(loss_run(first, records as u32, crate::wire::body::encode(&loss), now));
            first = end;
        }
        runs
    }
}

fn loss_run(first: Sequence, count: u32, body: bytes::Bytes, accepted: WallTime) -> Run {
    let header = RunHeader {
        kind: RunKind::Loss,
        has_ttl: false,
        has_subject: false,
        count,
        body_bytes: u32::try_from(body.len()).expect("a list of members is below 4 GiB"),
        first,
        body_hash: xxhash_rust::xxh3::xxh3_64(&body),
        // Whoever takes it knows the hash over what is before.
        chain: 0,
        accepted,
        producer: None,
    };
    Run { header, body }
}

impl Relay {
    /// Somebody lacks what is damaged here, and nobody who was asked has it. Answers with what stands in its
    /// place, if that is so for long enough, and nobody who is away may have it. True: it has.
    pub(super) fn answer_lost(&mut self, now: Now, quest: &Quest, waiters: &[PullWaiter]) -> bool {
        let Some((runs, behind)) = self.losses_of(now, quest) else { return false };
        let key = &quest.key;
        let Some(stream) = self.find_stream(key).map(|stream| stream.number) else { return false };
        for waiter in waiters {
            let (from, last) = (waiter.next, Sequence(behind.0 - 1));
            for run in runs.iter().filter(|run| run.header.end() > from) {
                let first_index = Index(0);
                let stored = StoredRun {
                    stream,
                    first_index,
                    arrived: now.wall,
                    age_ms: 0,
                    link: LinkId(0),
                    run: run.clone(),
                };
                self.send_pulled_run(now, key.group, waiter.link, &stored);
            }
            let released = self.released(key);
            self.answer_pull(*waiter, (Some(last), released));
        }
        let told = Told { key: key.clone(), from: quest.from, behind, at: now.wall };
        self.end_awaited(key.group, stream, (quest.from, behind));
        self.losses.note_told(told);
        true
    }

    /// What stands in the place of what was looked for in vain, and what is behind it.
    fn losses_of(&mut self, now: Now, quest: &Quest) -> Option<(Vec<Run>, Sequence)> {
        let Quest { key, from, .. } = quest;
        let behind = quest.behind.filter(|behind| *from < behind.next && !quest.anyway)?;
        if self.is_repairing(key) || !self.looks_after(key) || *from <= self.released(key) {
            return None;
        }
        let holder = self.holder_away(key, *from);
        let found = Suspicion { since: now.time, last: now.time, behind: behind.next, holder };
        if !self.losses.is_in_vain(now.time, (key, *from), &found) {
            return None;
        }
        let by = self.options.relay.clone();
        let (group, stream) = (self.groups.get(key.group)?, self.find_stream(key)?);
        let is_own = stream.is_written_by(&by, self.options.epoch.storage);
        let spread = group.spread.as_deref().filter(|_| !is_own);
        let members = spread.map(|spread| spread.parts.active_members()).unwrap_or_default();
        let runs = stream.losses((&by, &members), *from, behind, now.wall);
        Some((runs, behind.next))
    }

    /// Whether it is for this relay to say what becomes of a stream.
    pub(super) fn looks_after(&self, key: &StreamKey) -> bool {
        let (me, orphans) = (&self.options.relay, self.orphans());
        let Some(group) = self.groups.get(key.group) else { return false };
        let is_trustee = group.trustee() == Some(me);
        group.stream_of(&key.origin, key.epoch).is_some_and(|s| orphans.falls_to(s, (me, is_trustee)))
    }

    /// A relay that cannot be reached and may have a record: it has said so, or is owed it. What it has said
    /// last tells nothing of what it lacks: more may have come before it went away.
    fn holder_away(&self, key: &StreamKey, sequence: Sequence) -> Option<RelayId> {
        let (me, orphans) = (&self.options.relay, self.orphans());
        let group = self.groups.get(key.group)?;
        let stream = group.stream_of(&key.origin, key.epoch)?;
        let parts = &group.spread.as_deref()?.parts;
        let owed =
            stream.marks.iter().filter(|(relay, (mark, _))| *mark <= sequence && parts.may_be_member(relay));
        let is_own = stream.is_written_by(me, self.options.epoch.storage);
        let all = if is_own { Vec::new() } else { parts.active_members() };
        let said =
            stream.receipts.iter().filter(|(_, held)| held.durable >= sequence).map(|(relay, _)| relay);
        let is_away = |relay: &&RelayId| {
            *relay != me && !self.links.toward.contains_key(*relay) && !orphans.is_gone(relay)
        };
        owed.map(|(relay, _)| relay).chain(all).chain(said).find(is_away).cloned()
    }

    /// Puts that wait for more than this disk, and whose messages are lost, are told that nothing comes of it.
    fn end_awaited(
        &mut self,
        number: GroupNumber,
        stream: StreamNumber,
        (from, behind): (Sequence, Sequence),
    ) {
        let Some(group) = self.groups.get_mut(number).filter(|group| group.own == Some(stream)) else {
            return;
        };
        let Some(traffic) = &mut group.traffic else { return };
        let is_lost = |awaited: &Awaited| awaited.overlaps((from, behind));
        for awaited in traffic.awaited.extract_if(.., |awaited| is_lost(awaited)) {
            self.effects.push_back(awaited.given_up());
        }
    }

    /// What the status says of what is lost.
    pub(super) fn lost_warnings(&self, now: Now) -> Vec<String> {
        let what = |key: &StreamKey, from: Sequence, behind: Sequence| {
            let name = self.groups.get(key.group).map_or("?", |group| group.name.as_str());
            let (origin, boot) = (&key.origin, key.epoch.counter);
            let last = behind.0.saturating_sub(1);
            format!(
                "records {from} to {last} of `{name}`, put at {origin} in its boot {boot}, are damaged here"
            )
        };
        let shown = |told: &&Told| {
            now.wall.0.saturating_sub(told.at.0) <= limits::TAIL_CUT_SHOWN_MS.saturating_mul(1000)
        };
        let told = self.losses.told.iter().filter(shown).map(|told| {
            let what = what(&told.key, told.from, told.behind);
            format!("{what}, and nobody has them: subscriptions at relays that lacked them get a GAP")
        });
        let is_open = |(key, from): &(StreamKey, Sequence), known: &Suspicion| {
            now.time < known.last.after_ms(2 * limits::PULL_PAUSE_MS_MAX) && *from > self.released(key)
        };
        let open = self.losses.suspected.iter().filter(|(place, known)| is_open(place, known));
        let waiting = open.filter_map(|((key, from), known)| {
            let holder = known.holder.as_ref()?;
            let what = what(key, *from, known.behind);
            Some(format!(
                "{what}, and may be at {holder}, which cannot be reached: members that lack them wait for it, and \
                 for what was put behind them; if it never comes back, forget it"
            ))
        });
        told.chain(waiting.take(limits::TAIL_CUTS_MAX)).collect()
    }
}
