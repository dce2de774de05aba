//! Every bound of the system, in one place: its unit, its reason, and what
//! happens when it is reached. Relations between bounds are checked when the
//! crate is compiled.

/// Bytes of a name (group, relay, subscription): longer ones are refused.
/// Names live in memory for every group and subscription.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of a subject inside a group: longer ones are refused.
pub const SUBJECT_BYTES_MAX: usize = 1024;

/// Bytes of all headers of one message together: more are refused.
pub const HEADERS_BYTES_MAX: usize = 64 * 1024;

/// Bytes of one message's payload that a group takes unless told otherwise.
pub const MESSAGE_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;

/// Bytes of one message's payload that any group can be told to take.
pub const MESSAGE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Records in one run: an offset table for more would no longer be small.
pub const RUN_RECORDS_MAX: u32 = 65_536;

/// Bytes of the records of one run. One message of the largest size fits.
pub const RUN_BYTES_MAX: usize = MESSAGE_BYTES_MAX as usize + 2 * HEADERS_BYTES_MAX;

/// Bytes a publisher gathers into one run before it sends it: large enough
/// that the cost of a frame vanishes, small enough that a run is not a delay.
pub const RUN_BYTES_TARGET: usize = 128 * 1024;

/// Bytes of a run beside the payload of its largest message: what a publisher has gathered
/// before it, and the message's own headers and subject.
pub const RUN_OTHER_BYTES: u64 = (RUN_BYTES_TARGET + HEADERS_BYTES_MAX + SUBJECT_BYTES_MAX) as u64 + 64;

/// Bytes of a frame's body: a longer one closes the session before anything
/// is allocated for it.
pub const FRAME_BYTES_MAX: usize = RUN_BYTES_MAX + 4096;

/// Bytes of a control frame's body (CBOR): a longer one closes the session.
pub const CONTROL_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one segment file of the log unless told otherwise.
pub const SEGMENT_BYTES_DEFAULT: u64 = 128 * 1024 * 1024;

/// Bytes of one segment file at the least: one block with the largest run fits
/// into the default segment, and tests use small ones.
pub const SEGMENT_BYTES_MIN: u64 = 64 * 1024;

/// Bytes of runs that one commit takes at the most; the rest waits for the
/// next. It bounds how long a single sync can take.
pub const COMMIT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Milliseconds for which runs of neighbours that nobody waits for gather before they are synced. Their
/// origin keeps them so much longer, and what a relay has not synced when it crashes is sent to it again.
pub const SOON_MS: u64 = 5;

/// Bytes of what gathers so at which it is synced at once: more would not make the sync of a byte cheaper,
/// and would keep those waiting who need the disk next.
pub const SOON_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes of a write to the log from which on it goes past the kernel's page cache.
pub const DIRECT_BYTES_MIN: usize = 1 << 20;

/// Bytes that such a write gives to the disk at a time, from one buffer of that size.
pub const DIRECT_BYTES: usize = 1 << 20;

/// Bytes of runs handed to the log and not yet durable; a session that would
/// add to more waits, and with it its sender.
pub const UNSYNCED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of recent runs kept in memory for readers that are nearly up to date.
pub const TAIL_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes that one cold read takes from disk at a time.
pub const READ_BYTES: usize = 256 * 1024;

/// Messages delivered and not yet acked, per subscription, unless told otherwise.
pub const WINDOW_DEFAULT: u32 = 1024;

/// Messages delivered and not yet acked, per subscription, at the most: the
/// bitmap of acks out of order then takes 8 KiB.
pub const WINDOW_MAX: u32 = 65_536;

/// Milliseconds by which a receiver can delay what it nacks: a day; a longer wish is cut. What
/// waits is remembered, so nobody can make it wait for ever.
pub const NACK_DELAY_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Messages whose failed deliveries are counted, per subscription; of more the
/// failures are not counted, only delayed. What is rejected is remembered beyond that, within the window.
pub const PARKED_MAX: usize = 1024;

/// Ranges of producer sequences kept beside the floor, per producer and group; a put that
/// would need more is refused, since forgetting a gap would take its late messages for repeats.
pub const PRODUCER_RANGES_MAX: usize = 64;

/// Producers remembered per group; when there are more, the longest idle one is forgotten, and
/// retries from before that time by producers that are not known are refused.
pub const PRODUCERS_MAX: usize = 4096;

/// Milliseconds for which a message waits for those that its producer has sent before it by way of
/// another relay, unless told otherwise: more than a relay needs to be gone round.
pub const PRODUCER_HOLD_MS_DEFAULT: u64 = 5_000;

/// Milliseconds that this may be set to at the most: an hour.
pub const PRODUCER_HOLD_MS_MAX: u64 = 3_600_000;

/// Runs of a group that wait for earlier messages of their producers; one more, and those that have
/// waited longest are handed out with a notice. Twice as many are remembered as having waited; of
/// older ones only the place.
pub const EARLY_RUNS_MAX: usize = 4096;

/// Puts that wait for a higher level than `accepted`, per group; more are refused.
pub const AWAITED_PUTS_MAX: usize = 16_384;

/// Bytes on their way to one neighbour; at more, its groups wait until some are written.
pub const LINK_OUT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Bytes of everything that waits for one neighbour, beside the most that was said to it at once; at more
/// the link ends, and the ends compare what they know when it comes back. Runs keep to
/// [`LINK_OUT_BYTES_MAX`], what goes over circuits to [`CIRCUITS_LINK_BYTES_MAX`]; this is for all else.
/// The vectors of as many groups as a relay may have fit, which are said when a link comes up.
pub const LINK_WAITING_BYTES_LAST: u64 = 256 * 1024 * 1024;

/// Bytes that a backlog may have on their way to one neighbour: what is live waits behind them at
/// the most, and behind [`LINK_UNSENT_BYTES_MAX`] in the system.
pub const LINK_CATCH_UP_BYTES_MAX: u64 = 256 * 1024;

/// Bytes not sent yet above which the socket of a link takes no more.
pub const LINK_UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// The share of a link, in percent, that a backlog has though live messages alone would fill it.
pub const LINK_CATCH_UP_PERCENT: u8 = 20;

/// Bytes by which a neighbour that is live in a group may fall further behind before what it lacks is a backlog. Who
/// has not come with a backlog finds them in memory.
pub const LINK_LIVE_LAG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Bytes of a run's records below which it is not packed: a block of less saves too little.
pub const PACK_BYTES_MIN: usize = 512;

/// Bytes per second that a socket takes below which a link is slow: packing takes less time than
/// sending what it saves.
pub const PACK_BYTES_PER_SECOND: u64 = 32 * 1024 * 1024;

/// Records that a relay lacks of what its neighbours have before it says that it is catching up.
pub const CATCHING_UP_RECORDS: u64 = 10_000;

/// Records that it lacks at the most when it takes that back.
pub const CAUGHT_UP_RECORDS: u64 = 1_000;

/// Milliseconds between two changes of what it says of that, at the least.
pub const CATCHING_UP_PAUSE_MS: u64 = 5_000;

/// Milliseconds between two comparisons of what the ends of a link know.
pub const COMPARE_MS: u64 = 30_000;

/// Milliseconds without news before such a comparison counts.
pub const COMPARE_QUIET_MS: u64 = 5_000;

/// Milliseconds between two looks at how much it lacks.
pub const CATCHING_UP_LOOK_MS: u64 = 100;

/// Milliseconds after which a stream that has not got further does not count as being caught up.
pub const CATCHING_UP_STALE_MS: u64 = 10_000;

/// Milliseconds in which a link with a rate earns what it may send at once after a rest.
pub const LINK_BURST_MS: u64 = 20;

/// Bytes that a link with a rate may send at once after a rest, at the least: some runs.
pub const LINK_BURST_BYTES_MIN: u64 = 64 * 1024;

/// Receivers and requests of applications here that are led to other relays, and as many of other
/// relays that are served here; more are refused.
pub const CIRCUITS_MAX: usize = 16_384;

/// Receivers and requests of one other relay that are served here; more are refused.
pub const CIRCUITS_PER_RELAY_MAX: usize = 4096;

/// Bytes of deliveries over one circuit that the application's socket has not taken, at the most;
/// at more, delivery over it pauses.
pub const CIRCUIT_WINDOW_BYTES_MAX: u64 = 1024 * 1024;

/// The same when there are many circuits: then each of them has this much.
pub const CIRCUIT_WINDOW_BYTES_MIN: u64 = 64 * 1024;

/// Bytes that the circuits of one opener share, about, until each has the least.
pub const CIRCUITS_WINDOW_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes that an application's socket has taken until the home is told so.
pub const CIRCUIT_WRITTEN_BYTES: u64 = CIRCUIT_WINDOW_BYTES_MIN / 2;

/// Bytes that wait for one link before what is said over circuits is dropped, here or on its way, and
/// deliveries on their way: their circuits end, and begin again at the home.
pub const CIRCUITS_LINK_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Milliseconds between two questions of an opener whether a circuit is whole.
pub const CIRCUIT_PING_MS: u64 = 1_000;

/// Milliseconds after which a circuit of which nothing is heard is given up.
pub const CIRCUIT_SILENT_MS: u64 = 5_000;

const _: () = assert!(CIRCUITS_PER_RELAY_MAX <= CIRCUITS_MAX && CIRCUIT_PING_MS * 2 < CIRCUIT_SILENT_MS);
const _: () = assert!(SESSION_HANDLES_LOST_MAX < SESSION_HANDLES_MAX);
const _: () = assert!(CIRCUIT_WINDOW_BYTES_MIN <= CIRCUIT_WINDOW_BYTES_MAX);
const _: () = assert!(CIRCUITS_LINK_BYTES_MAX > LINK_OUT_BYTES_MAX);
const _: () = assert!(CIRCUITS_LINK_BYTES_MAX < LINK_WAITING_BYTES_LAST);
const _: () = assert!(LINK_OUT_BYTES_MAX + RUN_BYTES_MAX as u64 <= LINK_WAITING_BYTES_LAST);

/// Bytes of what relays tell one another in one frame (CBOR), runs excepted: a longer one closes
/// the link. The vector of a group with 100,000 streams fits.
pub const LINK_CONTROL_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Milliseconds for which a relay that joins a network tries to reach the one that is to tell it
/// the topology: one supervisor starts them in any order.
pub const JOIN_MS_MAX: u64 = 30_000;

/// Bytes of a topology that is applied to a running network: a network of as many relays as a map
/// may have fits, and so does the whole text into one control frame. A longer file is refused.
pub const TOPOLOGY_BYTES_MAX: usize = 960 * 1024;

/// Topologies that a relay keeps on its disk: the one in force, and those that can be rolled back
/// to. The oldest makes way.
pub const TOPOLOGIES_KEPT: usize = 8;

/// What a link costs until it was measured, as the tools for topologies take it.
pub const LINK_COST_UNMEASURED: u32 = 10;

/// Milliseconds in which other relays must have confirmed a new subscription, unless told otherwise.
pub const CONFIRM_MS_DEFAULT: u64 = 5_000;

/// Milliseconds after which a relay that has not confirmed is asked again for the first time.
pub const CONFIRM_AGAIN_MS: u64 = 200;

/// Milliseconds until what is to be said of a subscription that moves to another home is said first,
/// and until it is said again.
pub const MOVE_FIRST_MS: u64 = 1;
/// See [`MOVE_FIRST_MS`].
pub const MOVE_AGAIN_MS: u64 = 100;

/// Milliseconds without anybody who asks for a message at the old home of a subscription that moves,
/// until what is left there is copied to the new one. So whoever comes back at once finds it there.
pub const MOVE_UNREAD_MS: u64 = 5_000;

/// Milliseconds for which a name is known to have two homes before they are made one: of a name that has
/// moved, or was made again for a lost disk, that may be said for a moment.
pub const MERGE_FIRST_MS: u64 = 2_000;

/// Milliseconds until what is to be said of two homes that are made one is said again: it may wait for
/// long for relays that are away.
pub const MERGE_AGAIN_MS: u64 = 1_000;

/// Milliseconds without a way to the home that stays until one that has closed, and has not handed over,
/// is served again.
pub const MERGE_AWAY_MS: u64 = 10_000;

/// Milliseconds until a home that has refused to be made one with another is asked again.
pub const MERGE_REFUSED_MS: u64 = 60_000;

/// Bytes of a copy that are on their way to the new home and not on its disk; one run more, at the most.
pub const COPY_WINDOW_BYTES: u64 = 1024 * 1024;

/// Milliseconds without news of a copy until the new home is asked how far it is, and the rest sent again.
pub const COPY_AGAIN_MS: u64 = 1_000;

/// Subscriptions of which something is copied at a time: others wait for their turn.
pub const COPIES_MAX: usize = 8;

/// Parts of a backlog that a subscription brings along, at the most: one for each time that it was moved
/// and nobody took anything.
pub const REMNANTS_MAX: usize = 256;

/// Milliseconds in which other relays must have said what they know of a message, unless told otherwise.
pub const WHERE_MS_DEFAULT: u64 = 2_000;

/// Milliseconds that one who asks for a message may wait for other relays at the most.
pub const WHERE_MS_MAX: u64 = 20_000;

/// Messages that are asked for at one relay at a time, and looked for there: more are refused.
pub const QUESTIONS_MAX: usize = 64;

/// Reads of the log that looking for one message may take. Each halves what is left of the
/// group, unless it meets other streams only.
pub const LOOKUP_READS_MAX: u32 = 256;

/// Bytes of each of these reads, about.
pub const LOOKUP_READ_BYTES: usize = 32 * 1024;

/// Bytes that a relay says of a message to another one, about, at the most: the subscriptions
/// that do not fit are counted.
pub const TRACE_BYTES_MAX: usize = 32 * 1024;

/// Milliseconds for which it is remembered when a message came, over which link, and who passed it
/// over, unless a relay is set otherwise: a day, so that what went wrong yesterday can be looked into.
pub const TRACE_RETENTION_MS: u64 = 24 * 3600 * 1000;

/// The shortest such time, and the longest. Notes are forgotten by the hour, so a lesser one would
/// promise what is not so; after a year nobody asks.
pub const TRACE_RETENTION_MS_MIN: u64 = 3600 * 1000;
/// See [`TRACE_RETENTION_MS_MIN`].
pub const TRACE_RETENTION_MS_MAX: u64 = 365 * 24 * 3600 * 1000;
const _: () =
    assert!(TRACE_RETENTION_MS_MIN <= TRACE_RETENTION_MS && TRACE_RETENTION_MS <= TRACE_RETENTION_MS_MAX);

/// Bytes of memory, and of a snapshot, that all of this takes: some 500,000 runs. The oldest makes
/// way, however long it was to be remembered.
pub const TRACES_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Removed subscriptions of a group of which it is remembered what they got; the oldest makes way.
pub const GONE_SUBSCRIPTIONS_MAX: usize = 256;

/// Milliseconds between a change of the map and the plan of the trees: what changes with it is
/// planned with it.
pub const PLAN_PAUSE_MS_MIN: u64 = 10;

/// Milliseconds between two plans of the trees when the map does not rest; the pause doubles up
/// to this.
pub const PLAN_PAUSE_MS_MAX: u64 = 1000;

/// Milliseconds after the first of changes that follow one another in which the pause is the least one
/// again after a rest of twice itself; later only after a rest of twice [`PLAN_PAUSE_MS_MAX`]. RFC 8405 has
/// such a time to learn, and such a rest.
pub const PLAN_LEARN_MS: u64 = 1000;

/// Relays that were forgotten: what is said of more is not kept.
pub const FORGOTTEN_MAX: usize = 4 * MAP_RELAYS_MAX;

/// Milliseconds without a message after which an origin leaves its group's tree, if everybody has
/// all it has put. Coming back costs one message over each link of the network and a plan of one
/// tree, so a group into which something is put at least so often never pays for it.
pub const ORIGIN_QUIET_MS: u64 = 300_000;

/// Silent for so many of its own pings, a neighbour counts as dead.
pub const LINK_HELLOS_UNHEARD_MAX: u32 = 3;

/// Milliseconds until something must be heard of a neighbour that has just been answered, at least: the
/// longest round trip of a link that stays up whatever its pings are.
pub const LINK_FIRST_MS: u64 = 2_000;

/// Milliseconds until a connection to a neighbour must be there and the neighbour have said hello.
pub const LINK_CONNECT_MS: u64 = 5_000;

/// Milliseconds before the first new attempt to connect to a neighbour; doubled for each further one.
pub const LINK_BACKOFF_MS_MIN: u64 = 50;

/// Milliseconds between two attempts to connect to a neighbour, at the most: a relay that comes
/// back is met within this time.
pub const LINK_BACKOFF_MS_MAX: u64 = 1_000;

/// Milliseconds for which a relay with a new disk, among others like it only, waits for relays that
/// it knows of and that may know who is a member; then it goes on without them.
pub const NEWCOMER_WAIT_MS: u64 = 5_000;

/// Milliseconds after which a receipt that nobody has answered is said again.
pub const REPEAT_MS_MIN: u64 = 1_000;

/// Milliseconds between two repeats, at the most; the pause doubles up to this. A change of the map
/// begins anew: without one nothing gets lost.
pub const REPEAT_MS_MAX: u64 = 60_000;

/// Milliseconds for which neighbours may say what is released, when a link has come up after a start.
pub const HEARING_MS: u64 = 500;

/// Milliseconds for which that is waited for when not all links come up.
pub const HEARING_MS_MAX: u64 = 3_000;

/// Milliseconds after which it is looked again whether they are.
pub const HEARING_LOOK_MS: u64 = 100;

/// Milliseconds for which what a relay lacks may be on its way from a neighbour in the tree, when
/// something that follows on it has come; then it is pulled.
pub const PULL_PATIENCE_MS: u64 = 1_000;

/// The same when nothing has come yet: the neighbour may be slow, or the link.
pub const PULL_PATIENCE_SHOWN_MS: u64 = 3_000;

/// Milliseconds in which a neighbour must have answered a pull; then the next one is asked.
pub const PULL_WAIT_MS: u64 = 2_000;

/// Milliseconds between two pulls of what nobody had, at the most; the pause doubles up to this.
pub const PULL_PAUSE_MS_MAX: u64 = 60_000;

/// Pulls that a relay has open at a time, its own and those of others; of more, others are told
/// that it is not here, and its own wait.
pub const PULLS_OPEN_MAX: usize = 256;

/// Neighbours' pulls that wait for one that is open.
pub const PULL_WAITERS_MAX: usize = 1024;

/// Pulls that a relay answers from its log at a time; of more it says that it is not here.
pub const PULLS_SERVED_MAX: usize = 64;

/// Relays that a pull goes through, at the most: each is named in it.
pub const PULL_PATH_MAX: usize = 64;

/// Bytes with which one pull is answered, about; for more it is said again.
pub const PULL_BYTES: u64 = 4 * 1024 * 1024;

/// Streams of which a relay remembers that it lacks something; of more it learns again when
/// vectors are compared.
pub const LACKS_MAX: usize = 10_000;

/// Pulls that were in vain and are remembered for [`PULL_PATIENCE_MS`]: they are not sent on again.
pub const PULLS_BARREN_MAX: usize = 256;

/// Milliseconds for which a subscription waits for what is damaged here and fetched again from
/// others, unless some of it comes; then it is told of a gap.
pub const REPAIR_MS: u64 = 5_000;

/// Damaged ranges that are fetched again at a time; of more a gap is told.
pub const REPAIRS_MAX: usize = 64;

/// Ranges that were fetched again, per group; of more a gap is told.
pub const ANNEXES_MAX: usize = 1024;

/// The last sequence that a stream can reach: at a billion records a second it takes 140 years.
/// Whoever counts further counts wrong.
pub const SEQUENCE_MAX: u64 = 1 << 62;

/// Subscriptions that keep what was read ahead for them while their one connection is busy: the
/// next ones in turn. More would take memory for nothing.
pub const AHEAD_BLOCKED_MAX: usize = 16;

/// Milliseconds until it is tried again to move a message to its dead-letter group when the
/// disk has no room for it.
pub const DEAD_LETTER_RETRY_MS: u64 = 1000;

/// Bytes of cursors that are written as one entry of the log.
pub const CURSORS_BYTES_TARGET: usize = 1 << 20;

/// Bytes by which a receiver may be behind before what was read ahead for it is let go while
/// it takes nothing: within this much it shares what others hold in memory anyway.
pub const AHEAD_LAG_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Milliseconds that a relay takes itself to have been down at the most, whatever the clock says:
/// a year. Ages of messages count them; a clock that is wrong by decades expires none.
pub const DOWNTIME_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1000;

/// Milliseconds a producer is remembered after its last message, unless told otherwise: 7 days.
pub const PRODUCER_IDLE_MS_DEFAULT: u64 = 7 * 24 * 3600 * 1000;

/// Milliseconds a subscriber may take to ack before a message is delivered again, unless told otherwise.
pub const ACK_WAIT_MS_DEFAULT: u64 = 30_000;

/// Bytes that one read of a client takes from its socket, at the most.
pub const CLIENT_READ_BYTES: usize = 256 * 1024;

/// Bytes that a read of a quiet client makes room for.
pub const CLIENT_READ_BYTES_MIN: usize = 8 * 1024;

/// Buffers of a busy client's last reads that it remembers, to read into them
/// again when the application is done with what came in them: as many as hold
/// [`CLIENT_BUFFER_BYTES`].
pub const CLIENT_READS_KEPT: usize = 32;

/// Bytes of puts that a client hands to its socket at a time; the rest waits
/// for the next write, so that acks and pings never stand behind more.
pub const CLIENT_WRITE_BYTES: usize = 1024 * 1024;

/// Puts of one bulk that are taken before the connection's task gets the thread.
pub const CLIENT_TURN_PUTS: usize = 1024;

/// Bytes of one publisher that are worth being sent while others are on their way.
pub const CLIENT_BATCH_BYTES: usize = 512 * 1024;

/// Milliseconds that messages wait for others to go with them, at the most.
pub const CLIENT_HOLD_MS: u64 = 2;

/// Messages that a publisher may have without an answer, unless told otherwise.
pub const CLIENT_WINDOW_MESSAGES: usize = 65_536;

/// Bytes that a publisher may have without an answer, unless told otherwise:
/// half of what the session may have, so that two publishers fill it.
pub const CLIENT_WINDOW_BYTES: usize = SESSION_PUT_BYTES_MAX / 2;

/// Refusals that a publisher keeps for who put without a ticket; more are only counted.
pub const CLIENT_FAILURES_MAX: usize = 1024;

/// Milliseconds that an ack waits for others, at the most.
pub const CLIENT_ACK_MS: u64 = 5;

/// Acks that are sent without waiting for others.
pub const CLIENT_ACKS_AT_ONCE: u32 = 256;

/// Statements other than acks that wait to be sent, per subscriber; when there
/// are more, further notes of progress are dropped: the relay only delivers again.
pub const CLIENT_STATEMENTS_MAX: usize = 65_536;

/// Messages that an application was done with since its acks were sent last:
/// from here on more are worth being waited for, up to [`CLIENT_ACK_MS`].
pub const CLIENT_BUSY_MESSAGES: u64 = 64;

/// Ranges of acks that a subscriber keeps after they were sent, for the next
/// connection; when there are more, the lowest is dropped: it is durable most likely.
pub const CLIENT_SENT_ACKS_MAX: usize = 4096;

/// Messages that a subscriber asks for before it knows how large they are.
pub const CLIENT_CREDIT_FIRST: u64 = 16;

/// Bytes of messages that a subscriber has asked for in advance, about.
pub const CLIENT_BUFFER_BYTES: u64 = 8 * 1024 * 1024;

/// Streams that a relay may name in one session; more end it.
pub const CLIENT_STREAMS_MAX: usize = 1_000_000;

/// Milliseconds that a single get waits for a message until polls of the same subscription are told
/// that there is none: longer than a message takes that the relay has.
pub const CLIENT_IDLE_MS: u64 = 500;

/// Publishers that a client keeps for single puts, and subscribers for single
/// gets; the one that was used longest ago makes way.
pub const CLIENT_KEPT_MAX: usize = 64;

/// Milliseconds between two pings of a client.
pub const CLIENT_PING_MS: u64 = 10_000;

/// Pings in a row during which nothing was heard: then the relay counts as gone.
pub const CLIENT_PINGS_UNHEARD_MAX: u32 = 3;

/// Milliseconds until a connection must be there and the relay have said hello.
pub const CLIENT_CONNECT_MS: u64 = 5_000;

/// Milliseconds until a request must be answered, unless told otherwise.
pub const CLIENT_REQUEST_MS: u64 = 30_000;

/// Milliseconds before the first new attempt to connect; doubled for each further one.
pub const CLIENT_BACKOFF_MS_MIN: u64 = 50;

/// Milliseconds between two attempts to connect, at the most.
pub const CLIENT_BACKOFF_MS_MAX: u64 = 5_000;

/// Syncs of one flush of acks that a relay may refuse because the way to another relay was lost.
pub const CLIENT_SYNCS_REFUSED_MAX: u32 = 16;

/// Milliseconds between two attempts to attach a subscriber whose home cannot be reached for the
/// moment, at the most; they begin with [`CLIENT_BACKOFF_MS_MIN`].
pub const CLIENT_ATTACH_MS_MAX: u64 = 1_000;

/// Milliseconds that a session must have lasted for the next attempt to come soon.
pub const CLIENT_STEADY_MS: u64 = 10_000;

/// Milliseconds that the last acks and the goodbye of a client may take.
pub const CLIENT_GOODBYE_MS: u64 = 1_000;

const _: () = assert!(LINK_OUT_BYTES_MAX == SESSION_OUT_BYTES_MAX as u64, "both wait in queues of one kind");
const _: () = assert!(
    TOPOLOGY_BYTES_MAX + (TOPOLOGIES_KEPT + 2) * (2 * NAME_BYTES_MAX + 256) < CONTROL_BYTES_MAX,
    "an answer with a whole topology fits into a frame"
);
const _: () = assert!(CLIENT_READ_BYTES_MIN <= CLIENT_READ_BYTES);
const _: () = assert!(CLIENT_WINDOW_BYTES <= SESSION_PUT_BYTES_MAX);
const _: () = assert!(CLIENT_BACKOFF_MS_MIN <= CLIENT_BACKOFF_MS_MAX);

/// Groups per relay: each costs about a kilobyte of memory.
pub const GROUPS_MAX: usize = 1_000_000;

/// Subscriptions per relay: each costs about half a kilobyte of memory.
pub const SUBSCRIPTIONS_MAX: usize = 4_000_000;

/// Relays on one map, those known only by name among them; a map of more is not
/// made. The distances between all of them take 4 bytes a pair: 64 MiB.
pub const MAP_RELAYS_MAX: usize = 4096;

/// Links that one relay may advertise: a link state with more is refused.
pub const LINKS_PER_RELAY_MAX: usize = 4096;

/// Subscriptions of the whole network whose names a relay keeps; of more it keeps none.
pub const NAMES_MAX: usize = 4_000_000;

/// Streams of one group that a relay knows; runs of more are not taken.
pub const STREAMS_PER_GROUP_MAX: usize = 100_000;

/// Sessions per relay; more are told so and closed.
pub const SESSIONS_MAX: usize = 65_536;

/// Sessions of neighbours that are let in when there are [`SESSIONS_MAX`].
pub const SESSIONS_LAST: usize = 64;

/// Of the files and sockets that a process may have open applications leave a sixteenth: at least so many,
/// but no more than half of them.
pub const FILES_KEPT_MIN: u64 = 64;

/// And so many at the most: a process that may open very many has enough left by then.
pub const FILES_KEPT_MAX: u64 = 1_024;

/// Groups or subscriptions one session may have open at once.
pub const SESSION_HANDLES_MAX: usize = 65_536;

/// Handles that one session has had before those that were taken from it are given anew.
pub const SESSION_HANDLES_LOST_MAX: usize = 1024;

/// Producers of one session whose puts were refused for the moment; one more closes it, which a
/// publisher does by itself when it hears of that.
pub const SESSION_TURNED_AWAY_MAX: usize = 1024;

/// Requests of one session without an answer; more close it.
pub const SESSION_REQUESTS_MAX: usize = 4096;

/// Bytes of puts that one session may have without an answer. It is the
/// session's credit, told in the hello; more wait in the socket.
pub const SESSION_PUT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes that wait to be written to one session; at more, delivery to it pauses.
pub const SESSION_OUT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes that one read of a busy session takes from its socket: the cost of
/// the call vanishes, and the bytes are still in the cache when they are checked.
pub const SESSION_READ_BYTES: usize = 256 * 1024;

/// Bytes that the first read of a quiet session makes room for.
pub const SESSION_READ_BYTES_MIN: usize = 4 * 1024;

/// Bytes of frames longer than [`SESSION_READ_BYTES`] that are on their way in,
/// of all sessions together; a session that would begin another one waits when so much of it has come.
pub const PARTIAL_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The same of all links together: what applications send slowly holds up no neighbour. Two of the
/// longest frames, since neighbours send whole ones.
pub const LINK_PARTIAL_BYTES_MAX: usize = 160 * 1024 * 1024;

/// Milliseconds that a frame may take from its first byte to its last, and the time that the slowest
/// sender needs for it; a later one closes the session. Of one that is longer than what that sender
/// sends in this time so much must have come by then, and as much again in the same time after that.
pub const FRAME_MS_MAX: u64 = 30_000;

/// The slowest sender of frames that is waited for; of long ones, when half as much comes steadily.
pub const FRAME_BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

/// The same of a neighbour: a link that ended would begin the same run again, and get no further. As
/// little as the lowest `rate` of a link.
pub const LINK_FRAME_BYTES_PER_SECOND_MIN: u64 = 1_000;

/// Bytes of a client's hello: it comes from somebody not known yet.
pub const HELLO_BYTES_MAX: usize = 4 * 1024;

/// Milliseconds until a new connection must have said hello; then it is closed.
pub const HELLO_MS_MAX: u64 = 5_000;

/// Milliseconds that a session which ends has to take what is still to be
/// written to it; then it is cut off.
pub const CLOSE_MS_MAX: u64 = 1_000;

/// Bytes of answers (those to puts too), notices and pongs that wait to be
/// written to one session; at more, nothing is read from it until it has read.
pub const SESSION_CONTROL_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of answers, notices and pongs that wait to be written to one session
/// at the most, when its requests and puts were already on their way; more close it.
pub const SESSION_CONTROL_BYTES_LAST: usize = 16 * 1024 * 1024;

/// Bytes that one vectored write hands to a socket.
pub const WRITE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of what is no delivery and no run in one write: it is made into bytes here, which takes longer
/// than to hand on what is bytes already.
pub const WRITE_CONTROL_BYTES_MAX: usize = 64 * 1024;

/// Slices of one vectored write.
pub const WRITE_SLICES_MAX: usize = 64;

/// Records of fewer bytes are copied behind their header instead of being a
/// slice of their own: below it the copy is cheaper than the slice.
pub const WRITE_COPY_BYTES_MAX: usize = 2 * 1024;

/// Batches of inputs that wait for the driver; a session with another one waits.
pub const DRIVER_MESSAGES_MAX: usize = 128;

/// Batches that the driver takes in one turn.
pub const TURN_MESSAGES_MAX: usize = 64;

/// Microseconds for which the driver takes inputs in a turn, and a connection decodes frames at a time,
/// before other tasks work: a tenth of the usual pause between two signs of life of a link.
pub const SLICE_US_MAX: u64 = 10_000;

/// Microseconds for which the writer of one session goes on while its socket takes everything. Many may have
/// much to write at once.
pub const WRITE_SLICE_US_MAX: u64 = 2_000;

/// Bytes of puts that the driver takes in one turn.
pub const TURN_PUT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of entries of a turn which are handed to the log only after what is to be sent has been
/// written, so that the committer's waking does not hold it up. Above it, they go to the disk at once.
pub const TURN_SMALL_BYTES_MAX: usize = 16 * 1024;

/// Reads from the log's memory that the driver does in one turn; the others wait for the next.
pub const TURN_FETCHES_MAX: usize = 1024;

/// Parts of the relay's state that the driver takes into a snapshot in one turn.
pub const TURN_SHARDS_MAX: u32 = 2;

/// Seconds between two rounds in which the whole log is read and checked, and
/// before the first one.
pub const SCRUB_PAUSE_SECONDS: u64 = 3600;

/// Bytes per second that such a round reads, unless the operator says
/// otherwise: hardly any of a disk's time, and 350 GB in a day.
pub const SCRUB_BYTES_PER_SECOND_DEFAULT: u64 = 4 * 1024 * 1024;

/// Threads that read from the log's files.
pub const READER_THREADS: usize = 2;

/// Milliseconds that a relay which stops waits for its last appends to be durable.
pub const STOP_APPENDS_MS_MAX: u64 = 5_000;

/// Milliseconds that a relay which stops waits for its last snapshot: without it the next start reads more.
pub const STOP_SNAPSHOT_MS_MAX: u64 = 10_000;

/// Bytes of old messages that are moved together at the most, between two
/// looks at whether something more urgent is to be done.
pub const COLLECT_SLICE_BYTES: u64 = 1024 * 1024;

/// Bytes of old messages that are moved per second while nothing is committed,
/// or when room is short.
pub const COLLECT_IDLE_BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;

/// Bytes of old messages that are moved per second beside commits; as many as
/// are committed, when these are more, or else room would never be gained.
pub const COLLECT_BUSY_BYTES_PER_SECOND: u64 = 8 * 1024 * 1024;

/// Milliseconds for which next to nothing of a segment must have been released
/// before the rest is moved, unless room is short: a backlog that is being
/// worked off is soon gone by itself.
pub const COLLECT_AGE_MS: u64 = 10_000;

/// For so long nobody has had what is damaged at its origin before that is told as lost: some who were asked may
/// have had something in the way.
pub const LOST_MS: u64 = 5_000;

/// Cuts of the log's end that are remembered for the status; the oldest makes way.
pub const TAIL_CUTS_MAX: usize = 16;

/// For so long the status tells that the log's end was cut: thirty days, since nobody can say
/// whether somebody has read it.
pub const TAIL_CUT_SHOWN_MS: u64 = 30 * 24 * 3600 * 1000;

/// Evicted subscriptions of a group that are remembered for their owners; the
/// oldest makes way.
pub const EVICTED_MAX: usize = 1024;

/// Gaps of one subscription that are told apart until they are acked; of more those that touch
/// become one, then the oldest.
pub const GAPS_MAX: usize = 1024;

/// Subscriptions whose quota is used up that a home names to an origin; of more it says how many. A
/// thousand receipts that name as many fit into a frame between relays.
pub const FULL_NAMES_MAX: usize = 8;

/// Connections that are told metrics at a time; further ones wait.
pub const METRICS_CONNECTIONS_MAX: usize = 16;

/// Milliseconds that one who asks for metrics may take to ask and to read.
pub const METRICS_ANSWER_MS: u64 = 10_000;

/// Milliseconds between two clean-ups of what histograms gather.
pub const METRICS_UPKEEP_MS: u64 = 5_000;

const _: () = assert!(LINK_CATCH_UP_BYTES_MAX < LINK_OUT_BYTES_MAX && LINK_CATCH_UP_PERCENT < 100);
const _: () = assert!(LINK_LIVE_LAG_BYTES_MAX <= TAIL_BYTES_MAX as u64);
const _: () = assert!(CAUGHT_UP_RECORDS < CATCHING_UP_RECORDS);
const _: () = assert!(1000 * (FULL_NAMES_MAX + 6) * (NAME_BYTES_MAX + 32) < LINK_CONTROL_BYTES_MAX);
const _: () = assert!(LINK_BURST_BYTES_MIN <= LINK_OUT_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_DEFAULT <= MESSAGE_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX as usize + HEADERS_BYTES_MAX + SUBJECT_BYTES_MAX < RUN_BYTES_MAX);
const _: () = assert!(RUN_BYTES_TARGET < RUN_BYTES_MAX);
const _: () = assert!(CONTROL_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!((RUN_BYTES_MAX as u64) < SEGMENT_BYTES_DEFAULT);
const _: () = assert!(WINDOW_DEFAULT <= WINDOW_MAX);
const _: () = assert!(AHEAD_LAG_BYTES_MAX <= TAIL_BYTES_MAX as u64);
const _: () = assert!((CURSORS_BYTES_TARGET as u64) < SEGMENT_BYTES_DEFAULT / 4);
const _: () = assert!(COMMIT_BYTES_MAX <= UNSYNCED_BYTES_MAX);
const _: () = assert!(SOON_BYTES_MAX <= COMMIT_BYTES_MAX as u64);
const _: () = assert!(SESSION_READ_BYTES_MIN <= SESSION_READ_BYTES);
const _: () = assert!(FRAME_BYTES_MAX <= PARTIAL_BYTES_MAX);
const _: () = assert!(2 * FRAME_BYTES_MAX <= LINK_PARTIAL_BYTES_MAX);
const _: () = assert!(SESSION_PUT_BYTES_MAX <= UNSYNCED_BYTES_MAX);
const _: () = assert!(SESSION_CONTROL_BYTES_MAX < SESSION_CONTROL_BYTES_LAST);
const _: () = assert!(CONTROL_BYTES_MAX <= SESSION_CONTROL_BYTES_LAST);
const _: () = assert!(WRITE_COPY_BYTES_MAX < WRITE_BYTES_MAX);
const _: () = assert!(HELLO_BYTES_MAX <= SESSION_READ_BYTES_MIN + SESSION_READ_BYTES);
