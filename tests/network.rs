//! Networks of real relays, each a process of its own, joined by links that lead through a proxy.
//!
//! Every durable subscription has an oracle of its own: whatever was acknowledged at any relay
//! arrives there once, and in the order of its publisher. Tests are named after their numbers in
//! the list of scenarios (s…), of faults (f…) or of promises (p…), where they have one.
//!
//! Every network has a loopback address of its own, so all tests can run at once. What is
//! measured is printed, and held only to bounds that a busy machine keeps too:
//!
//! ```sh
//! cargo test --test network -- --nocapture
//! ```

#[allow(dead_code, reason = "what is shared by tests of relays: these use a part of each")]
mod network {
    #[path = "../common/client.rs"]
    mod client;
    #[path = "../common/commands.rs"]
    mod commands;
    #[path = "../common/namespace.rs"]
    mod namespace;
    #[path = "../common/oracle.rs"]
    mod oracle;
    #[path = "../common/process.rs"]
    mod process;
    #[path = "../common/proxy.rs"]
    mod proxy;
    #[path = "../common/random.rs"]
    mod random;
    #[path = "../common/tracer.rs"]
    mod tracer;

    mod lag;
    mod site;
    mod traffic;

    mod applied;
    mod by_hand;
    mod changes;
    mod elsewhere;
    mod halts;
    mod islands;
    mod joins;
    mod leaving;
    mod line;
    mod lines;
    mod names;
    mod producers;
    mod quotas;
    mod ring;
    mod soak;
    mod together;
    mod trace;
    mod twins;
    mod waits;
    mod weather;
}
