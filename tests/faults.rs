//! Faults of the machine, the network and the operator against the real
//! program, each test named after its number in the list of faults.
//!
//! Every test has a relay process of its own and a record of what publishers
//! and the subscriber saw; an oracle says whether it may have been so. Tests
//! that need what this machine does not permit say so on standard error and pass; with
//! `TREECAST_NO_SKIP=1` they fail, so that a pipeline does not pass by skipping.
//!
//! What they use where it is there: `unshare`, `nsenter` and `mount` (as root), `mkfs.ext4`,
//! `fsfreeze` and loop devices, `ip` and network namespaces, `prlimit`, `strace`, `perl` or
//! `python3` for one ioctl, control groups, and a LazyFS (see `power_faults`), `libfaketime`.
//!
//! The long ones are not run by default; some need minutes, a few GiB of disk, or a machine that
//! has nothing else to do:
//!
//! ```sh
//! cargo test --test faults -- --ignored --nocapture --test-threads=1
//! ```

#[allow(dead_code, reason = "what is shared by tests of relays: these use a part of each")]
mod faults {
    mod bulk;
    #[path = "../common/client.rs"]
    mod client;
    mod clock_faults;
    #[path = "../common/commands.rs"]
    mod commands;
    mod disk_faults;
    mod halt_faults;
    mod load;
    #[path = "../common/namespace.rs"]
    mod namespace;
    mod network_faults;
    #[path = "../common/oracle.rs"]
    mod oracle;
    mod partition_faults;
    mod power_faults;
    #[path = "../common/process.rs"]
    mod process;
    mod process_faults;
    #[path = "../common/proxy.rs"]
    mod proxy;
    mod quota_faults;
    #[path = "../common/random.rs"]
    mod random;
    mod raw;
    mod soak;
    mod space_faults;
    mod starved;
    mod syscall_faults;
    #[path = "../common/tracer.rs"]
    mod tracer;
    mod volume;
}
